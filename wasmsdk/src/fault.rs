//! Errors of a strategy, and the typed faults that they become (SB-6). They never become a dead socket.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;

use crate::answer::Fault;
use crate::limits::{MAX_MESSAGE_BYTES, MAX_TRACEBACK_BYTES};

/// What a callback and a call of `ctx` returns.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// What kind of failure it was; the only part of a fault that a replay must reproduce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The strategy failed: an error came back from a callback, or it panicked.
    Exception,
    /// What the strategy decided cannot be sent.
    BadReturn,
    /// The configuration does not fit the schema (HR-1).
    Config,
    /// The state cannot be written, read or migrated (ST-1, ST-5).
    State,
    /// The strategy ran out of memory.
    Memory,
    /// The strategy used a clock or chance outside `ctx` (NN-7).
    Determinism,
}

impl FaultKind {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::BadReturn => "bad_return",
            Self::Config => "config",
            Self::State => "state",
            Self::Memory => "memory",
            Self::Determinism => "determinism",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a step failed. The step's effects are dropped, the state counts as suspect.
///
/// Every error of the standard library's kind becomes one by `?`, which also notes the place. Make your own with
/// [`bail!`](crate::bail) or [`Error::new`]. It is no `std::error::Error` itself, so that `?` can take all others.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: FaultKind,
    message: String,
    place: String,
}

impl Error {
    /// A failure of the strategy, for whoever reads the log.
    #[track_caller]
    pub fn new(message: impl fmt::Display) -> Self {
        Self::of(FaultKind::Exception, message)
    }

    /// A state that cannot be written, read or migrated.
    #[track_caller]
    pub fn state(message: impl fmt::Display) -> Self {
        Self::of(FaultKind::State, message)
    }

    /// A configuration that the strategy cannot work with.
    #[track_caller]
    pub fn config(message: impl fmt::Display) -> Self {
        Self::of(FaultKind::Config, message)
    }

    #[track_caller]
    pub(crate) fn of(kind: FaultKind, message: impl fmt::Display) -> Self {
        let place = Location::caller();
        Self {
            kind,
            message: message.to_string(),
            place: format!("at {place}"),
        }
    }

    /// What kind of fault it becomes.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    #[cfg_attr(target_family = "wasm", allow(dead_code, reason = "a panic ends a module"))]
    pub(crate) fn panicked(message: &str, place: String) -> Self {
        Self {
            kind: FaultKind::Exception,
            message: format!("panic: {message}"),
            place,
        }
    }

    pub(crate) fn with_kind(self, kind: FaultKind) -> Self {
        Self { kind, ..self }
    }

    /// The fault, cut to the limits of the wire; it also goes to stderr, the strategy's log.
    pub(crate) fn into_fault(self) -> Fault {
        eprintln!("msup: {}: {}\n  {}", self.kind, self.message, self.place);
        Fault {
            kind: self.kind.as_str().to_owned(),
            message: head(&self.message, MAX_MESSAGE_BYTES),
            traceback: tail(&self.place, MAX_TRACEBACK_BYTES),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.kind, self.message, self.place)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl<E: StdError> From<E> for Error {
    #[track_caller]
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(one) = cause {
            message.push_str(": ");
            message.push_str(&one.to_string());
            cause = one.source();
        }
        Self::new(message)
    }
}

/// Ends a callback with an error: `bail!("fast = {fast} must be below slow = {slow}")`.
#[macro_export]
macro_rules! bail {
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::fault::Error::new(::core::format_args!($($message)+)))
    };
}

const CUT: &str = "… ";

fn head(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &text[..end])
}

/// The end says what happened.
fn tail(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut start = text.len() - (most - CUT.len());
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("{CUT}{}", &text[start..])
}

/// A supervisor that broke PROTOCOL.md: the session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub(crate) String);

impl ProtocolError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl StdError for ProtocolError {}

impl From<crate::error::DecodeError> for ProtocolError {
    fn from(error: crate::error::DecodeError) -> Self {
        Self(error.to_string())
    }
}

/// Runs a callback. Natively a panic is an error like any other; a module traps, and the supervisor restores it.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn guarded<T>(callback: impl FnOnce() -> Result<T>) -> Result<T> {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    note_panics();
    // Whatever the callback left half done is the strategy's; the session takes none of its effects.
    catch_unwind(AssertUnwindSafe(callback)).unwrap_or_else(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a payload that is no text".to_owned());
        Err(Error::panicked(&message, PLACE.take()))
    })
}

#[cfg(target_family = "wasm")]
pub(crate) fn guarded<T>(callback: impl FnOnce() -> Result<T>) -> Result<T> {
    callback()
}

#[cfg(not(target_family = "wasm"))]
thread_local! {
    /// Where this thread panicked last.
    static PLACE: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Notes the place of a panic, which the payload does not hold; what the hook before it did, it does still.
#[cfg(not(target_family = "wasm"))]
fn note_panics() {
    use std::backtrace::{Backtrace, BacktraceStatus};
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let mut place = info
                .location()
                .map(|place| format!("at {place}"))
                .unwrap_or_default();
            let trace = Backtrace::capture();
            if trace.status() == BacktraceStatus::Captured {
                place = format!("{trace}\n{place}");
            }
            PLACE.set(place);
            before(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: SB-6
    #[test]
    fn texts_are_cut_to_their_limits_between_characters() {
        let long = "ä".repeat(MAX_TRACEBACK_BYTES);
        let fault = Error {
            kind: FaultKind::State,
            message: format!("x{long}"),
            place: format!("{long}x"),
        }
        .into_fault();
        assert!(
            fault.message.len() <= MAX_MESSAGE_BYTES && fault.message.ends_with(CUT),
            "{}",
            fault.message.len()
        );
        assert!(fault.traceback.len() <= MAX_TRACEBACK_BYTES);
        assert!(fault.traceback.starts_with(CUT) && fault.traceback.ends_with("äx"));
        assert_eq!(fault.kind, "state");
    }

    // Proves: SB-6
    #[test]
    fn an_error_names_its_causes_and_its_place() {
        fn parse() -> Result<i64> {
            Ok("x".parse::<i64>()?)
        }
        let error = parse().expect_err("no number");
        assert_eq!(error.message(), "invalid digit found in string");
        assert!(format!("{error:?}").contains("fault.rs:"), "{error:?}");
    }

    // Proves: SB-6
    #[test]
    fn a_panic_is_an_error_with_its_place() {
        let error = guarded::<()>(|| panic!("number {}", 7)).expect_err("a panic");
        assert_eq!(error.message(), "panic: number 7");
        assert!(error.place.contains("fault.rs:"), "{}", error.place);
        let error = guarded::<()>(|| std::panic::panic_any(7)).expect_err("a panic");
        assert_eq!(error.message(), "panic: a payload that is no text");
        assert!(guarded(|| Ok(1)).is_ok());
    }
}
