//! The text of an identifier: short ones, idempotency keys among them, live inside the value, so that an event is decoded
//! and an intent is made without an allocation for each of their ids.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A key has 32 bytes; with 38 the value fills five words.
const INLINE_BYTES: usize = 38;

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<str>),
}

/// A string that cannot be changed.
#[derive(Clone)]
pub(crate) struct Text(Repr);

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(front), Ok(len)) => {
                front.copy_from_slice(text.as_bytes());
                Self(Repr::Inline { len, bytes })
            }
            _ => Self(Repr::Heap(text.into())),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(text) => text.as_bytes(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Inline { len, bytes } => match std::str::from_utf8(&bytes[..usize::from(*len)]) {
                Ok(text) => text,
                Err(_) => unreachable!("a Text is only made of a str"),
            },
            Repr::Heap(text) => text,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

// Bytes of UTF-8 compare as their text does, and cost no look at its validity.
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// As `str` hashes, which `Borrow<str>` demands.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::{INLINE_BYTES, Text};

    // Proves: DM-2
    #[test]
    fn short_and_long_texts_behave_alike() {
        let texts = [
            "",
            "a",
            "ä€",
            &"k".repeat(INLINE_BYTES),
            &"k".repeat(INLINE_BYTES + 1),
            &"é".repeat(64),
        ];
        for a in texts {
            assert_eq!(Text::new(a).as_str(), a);
            assert_eq!(Text::new(a).as_bytes(), a.as_bytes());
            assert_eq!(format!("{:?}", Text::new(a)), format!("{a:?}"));
            for b in texts {
                assert_eq!(Text::new(a).cmp(&Text::new(b)), a.cmp(b), "{a:?} {b:?}");
                assert_eq!(Text::new(a) == Text::new(b), a == b);
            }
        }
        assert!(Text::default().is_empty());
    }
}
