//! Why bytes were refused or could not be written: the class, the field, the place and the cause.

use std::fmt;

/// Groups errors; the vectors name it, so that all languages refuse the same bytes for the same cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The bytes end, or a count or length promises more than is left.
    Truncated,
    /// Another msgpack type than the field has.
    WrongType,
    /// A number outside the field's range, an enumeration's value that does not exist.
    Range,
    /// A string or bin above its limit, or of another length than a fixed one.
    TooLong,
    /// A count above its limit.
    TooMany,
    /// Nested deeper than [`MAX_DEPTH`](crate::limits::MAX_DEPTH).
    TooDeep,
    /// Mandatory fields are missing.
    ShortArray,
    /// A decimal that does not have the canonical form.
    Decimal,
    /// A string that is not UTF-8.
    Utf8,
    /// NaN or an infinity.
    Float,
    /// A map with the same key twice.
    DuplicateKey,
    /// No such message, event or intent.
    UnknownType,
    /// A message that this side may not send.
    Direction,
    /// Bytes after the array.
    TrailingBytes,
    /// Not msgpack.
    Invalid,
    /// The length prefix is above the limit.
    FrameTooLarge,
    /// A frame of zero bytes.
    FrameEmpty,
}

impl ErrorClass {
    /// The name in the vectors and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::WrongType => "wrong_type",
            Self::Range => "range",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::TooDeep => "too_deep",
            Self::ShortArray => "short_array",
            Self::Decimal => "decimal",
            Self::Utf8 => "utf8",
            Self::Float => "float",
            Self::DuplicateKey => "duplicate_key",
            Self::UnknownType => "unknown_type",
            Self::Direction => "direction",
            Self::TrailingBytes => "trailing_bytes",
            Self::Invalid => "invalid",
            Self::FrameTooLarge => "frame_too_large",
            Self::FrameEmpty => "frame_empty",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which bytes broke which rule. It ends the session with the peer that sent them.
///
/// It is behind a pointer, so that a result is hardly larger than its value: every field of every message is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(Box<Refusal>);

/// A message that cannot be written because a reader would have to refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(Box<Refusal>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    class: ErrorClass,
    field: String,
    offset: usize,
    detail: String,
}

impl DecodeError {
    #[cold]
    #[inline(never)]
    pub(crate) fn new(offset: usize, class: ErrorClass, detail: String) -> Self {
        Self(Box::new(Refusal {
            class,
            field: String::new(),
            offset,
            detail,
        }))
    }

    /// The rule.
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// The way to the field, for example `answer.intents[3].quantity`; empty for the frame itself.
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// Bytes from the start of the message, the length prefix not counted.
    pub fn offset(&self) -> usize {
        self.0.offset
    }

    /// What was found and what is allowed.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl EncodeError {
    /// An error whose field is still to be named by the callers.
    #[cold]
    #[inline(never)]
    pub(crate) fn new(class: ErrorClass, detail: String) -> Self {
        Self(Box::new(Refusal {
            class,
            field: String::new(),
            offset: 0,
            detail,
        }))
    }

    /// The rule.
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// The way to the field, for example `answer.intents[3].meta.key`.
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// What was found and what is allowed.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

fn place(field: &str) -> &str {
    if field.is_empty() { "frame" } else { field }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "decode {} at byte {}: {}: {}",
            place(self.field()),
            self.offset(),
            self.class(),
            self.detail()
        )
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "encode {}: {}: {}",
            place(self.field()),
            self.class(),
            self.detail()
        )
    }
}

impl std::error::Error for DecodeError {}
impl std::error::Error for EncodeError {}

/// An error that learns, on its way up, in which field it happened. The path is only built when something fails.
pub(crate) trait Within: Sized {
    fn field_mut(&mut self) -> &mut String;

    #[cold]
    #[inline(never)]
    fn within(mut self, name: &str) -> Self {
        let field = self.field_mut();
        if !field.is_empty() && !field.starts_with('[') {
            field.insert(0, '.');
        }
        field.insert_str(0, name);
        self
    }

    #[cold]
    #[inline(never)]
    fn at_index(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }
}

impl Within for DecodeError {
    fn field_mut(&mut self) -> &mut String {
        &mut self.0.field
    }
}

impl Within for EncodeError {
    fn field_mut(&mut self) -> &mut String {
        &mut self.0.field
    }
}
