//! The module's side of the runner: the exports of the guest ABI, version 1.
//!
//! The runner puts a frame where `msup_buffer` says, calls `msup_handle`, and sends the bytes that come back. It exits when
//! the socket ends or Stop has been handled. A supervisor that breaks the protocol ends the process with status 70, an
//! environment that lacks something with status 78, as in Python.

use std::cell::RefCell;

use crate::describe::describe;
use crate::fault::ProtocolError;
use crate::frame::{Direction, PREFIX_BYTES, frame_bytes};
use crate::limits::MAX_FRAME_BYTES;
use crate::session::Session;
use crate::strategy::Strategy;

/// Version of the guest ABI.
pub const GUEST_ABI_VERSION: i32 = 1;

/// Exit status for a supervisor that broke the protocol.
pub(crate) const EXIT_PROTOCOL: i32 = 70;
/// Exit status for an environment that lacks something.
pub(crate) const EXIT_ENVIRONMENT: i32 = 78;

/// Where the environment says what the handshake repeats.
pub(crate) const PACKAGE_HASH: &str = "MSUP_PACKAGE_HASH";

/// What the exported functions work on; one per module.
#[derive(Debug)]
pub struct Guest<S: Strategy>(RefCell<Memory<S>>);

#[derive(Debug)]
struct Memory<S: Strategy> {
    session: Session<S>,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    description: String,
}

impl<S: Strategy> Default for Guest<S> {
    fn default() -> Self {
        Self(RefCell::new(Memory {
            session: Session::new(),
            inbox: Vec::new(),
            outbox: Vec::new(),
            description: String::new(),
        }))
    }
}

impl<S: Strategy> Guest<S> {
    /// Makes room for a frame of `len` bytes, prefix included; its address, 0 where there can be no such frame.
    pub fn buffer(&self, len: i32) -> i32 {
        let inbox = &mut self.0.borrow_mut().inbox;
        match usize::try_from(len) {
            Ok(len) if len <= PREFIX_BYTES + MAX_FRAME_BYTES => {
                if inbox.len() < len.max(1) {
                    inbox.resize(len.max(1), 0);
                }
                inbox.as_mut_ptr() as usize as i32
            }
            _ => 0,
        }
    }

    /// Handles the frame in the buffer; address and length of what is to be sent. Length 0 asks for the handshake.
    pub fn handle(&self, len: i32) -> i64 {
        let Memory {
            session,
            inbox,
            outbox,
            ..
        } = &mut *self.0.borrow_mut();
        outbox.clear();
        let frame = usize::try_from(len).ok().and_then(|len| inbox.get(..len));
        let handled = match frame {
            Some([]) => {
                let hash = std::env::var(PACKAGE_HASH).unwrap_or_else(|_| {
                    let cause =
                        format!("the environment variable {PACKAGE_HASH} is not set; msup run sets it");
                    leave(EXIT_ENVIRONMENT, &format!("IMPORT_FAILED: {cause}"))
                });
                session.hello(&hash, outbox)
            }
            Some(frame) => handle_frame(session, frame, outbox),
            None => Err(ProtocolError::new(format!(
                "a frame of {len} bytes was not put into the buffer"
            ))),
        };
        if let Err(error) = handled {
            leave(EXIT_PROTOCOL, &format!("PROTOCOL: {error}; the session is over"));
        }
        span(outbox)
    }

    /// Address and length of the description.
    pub fn describe(&self) -> i64 {
        let description = &mut self.0.borrow_mut().description;
        *description = describe::<S>();
        span(description.as_bytes())
    }
}

/// Handles one whole frame, prefix included.
pub(crate) fn handle_frame<S: Strategy>(
    session: &mut Session<S>,
    frame: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    match frame_bytes(frame, Direction::FromSupervisor)? {
        Some(len) if len == frame.len() => session.handle(&frame[PREFIX_BYTES..], out).map(drop),
        _ => Err(ProtocolError::new(format!(
            "{} bytes that are not one whole frame",
            frame.len()
        ))),
    }
}

fn leave(status: i32, line: &str) -> ! {
    eprintln!("msup: {}", line.replace('\n', " "));
    std::process::exit(status)
}

fn span(bytes: &[u8]) -> i64 {
    let address = bytes.as_ptr() as usize as u64;
    (address << 32 | bytes.len() as u64) as i64
}

/// Makes a struct the strategy of this module: `msup::export!(EmaCross);`, once, in `lib.rs`.
///
/// Compiled for `wasm32-wasip1` it defines the functions that the runner calls; compiled for anything else, nothing. The
/// native binary is made by [`native_main!`](crate::native_main).
///
/// ```compile_fail
/// struct NoStrategy;
/// msup::export!(NoStrategy); // error: `NoStrategy` is no strategy; write `#[msup::strategy] impl …`
/// ```
///
/// ```compile_fail
/// msup::export!(); // error: msup::export! takes the type of the strategy
/// ```
///
/// ```compile_fail
/// # struct One;
/// # #[msup::strategy]
/// # impl msup::Strategy for One {}
/// msup::export!(One);
/// msup::export!(One); // error: `msup_export_stands_once_in_a_module` is defined multiple times
/// # fn main() {}
/// ```
///
/// ```
/// # struct One;
/// # #[msup::strategy]
/// # impl msup::Strategy for One {}
/// msup::export!(One);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($strategy:ty $(,)?) => {
        const _: () = $crate::export::is_strategy::<$strategy>();

        /// There is one strategy in a module: msup::export! stands once.
        #[doc(hidden)]
        #[allow(dead_code)]
        pub mod msup_export_stands_once_in_a_module {}

        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static GUEST: $crate::export::Guest<$strategy> = ::core::default::Default::default();
            }

            #[allow(unsafe_code)]
            unsafe extern "C" {
                /// The linker's: runs the constructors of the C library.
                fn __wasm_call_ctors();
            }

            /// Without it the linker wraps every export so that the constructors run at every call.
            // SAFETY: the runner calls `_initialize` once, before everything else, which is what the constructors demand.
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                unsafe { __wasm_call_ctors() }
            }

            // SAFETY, of all four: the names are the runner's and nobody else's; the functions take and return numbers,
            // and touch memory only through safe code.
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn msup_abi() -> i32 {
                $crate::export::GUEST_ABI_VERSION
            }

            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn msup_buffer(len: i32) -> i32 {
                GUEST.with(|guest| guest.buffer(len))
            }

            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn msup_handle(len: i32) -> i64 {
                GUEST.with(|guest| guest.handle(len))
            }

            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn msup_describe() -> i64 {
                GUEST.with(|guest| guest.describe())
            }
        };
    };
    ($first:ty, $($other:ty),+ $(,)?) => {
        ::core::compile_error!(
            "msup::export! takes one strategy: a module runs one instance. Make a crate for each strategy"
        );
    };
    ($($other:tt)*) => {
        ::core::compile_error!("msup::export! takes the type of the strategy: msup::export!(EmaCross);");
    };
}

/// The `main` of the binary for `runtime = "rust_native"`: `msup::native_main!(ema_cross::EmaCross);`, all of `main.rs`.
#[macro_export]
macro_rules! native_main {
    ($strategy:ty $(,)?) => {
        #[cfg(unix)]
        fn main() -> ::std::process::ExitCode {
            $crate::runner::main::<$strategy>()
        }

        #[cfg(not(unix))]
        fn main() {
            const _: () = $crate::export::is_strategy::<$strategy>();
            ::std::eprintln!("msup: this is the native runner; for Wasm, build the library");
        }
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "msup::native_main! takes the type of the strategy: msup::native_main!(ema_cross::EmaCross);"
        );
    };
}

#[doc(hidden)]
pub const fn is_strategy<S: Strategy>() {}
