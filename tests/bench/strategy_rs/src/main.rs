//! The native binary, for `runtime = "rust_native"`.

msup::native_main!(bench::Bench);
