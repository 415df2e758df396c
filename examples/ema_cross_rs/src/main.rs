//! The native binary, for `runtime = "rust_native"`.

msup::native_main!(ema_cross_rs::EmaCross);
