//! The idempotency key (GT-5): the first 16 bytes of SHA-256 over a msgpack array, in hex. No run, version, epoch or wall
//! time is in it, so the same decision has the same key after every restart. The rule is A's domain: this file is the one
//! place in the crate where it can be replaced.

use sha2::{Digest as _, Sha256};

use crate::codec::{UNLIMITED, Writer};
use crate::error::EncodeError;
use crate::id::{Address, Key, Lineage, Step};

/// How much of the sum a key holds.
const KEY_BYTES: usize = 16;

/// What every key of an instance starts from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The instance.
    pub address: Address,
    /// Its identity.
    pub lineage: Lineage,
}

/// What makes the keys of one owner different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyForm<'a> {
    /// The intent at index `ordinal` (from 0, as answered) of a step: `S`.
    Step {
        /// The step.
        step: Step,
        /// The index.
        ordinal: u32,
    },
    /// An intent to which the strategy has given a name: `N`.
    Named {
        /// The name.
        name: &'a str,
    },
    /// An intent that M itself makes: `M`.
    Obligation {
        /// Number of the obligation.
        obligation: u64,
        /// Number of the attempt.
        attempt: u64,
        /// Index within the attempt, from 0.
        ordinal: u32,
    },
}

impl<'a> KeyForm<'a> {
    /// The form that a strategy's intent has: named where the name is not empty, else by step and ordinal.
    pub fn of_intent(step: Step, ordinal: u32, name: &'a str) -> Self {
        match name {
            "" => Self::Step { step, ordinal },
            name => Self::Named { name },
        }
    }

    fn tag(self) -> &'static str {
        match self {
            Self::Step { .. } => "S",
            Self::Named { .. } => "N",
            Self::Obligation { .. } => "M",
        }
    }

    fn width(self) -> usize {
        match self {
            Self::Named { .. } => 1,
            Self::Step { .. } => 2,
            Self::Obligation { .. } => 3,
        }
    }

    fn put(self, w: &mut Writer) -> Result<(), EncodeError> {
        match self {
            Self::Named { name } => w.str(name, UNLIMITED)?,
            Self::Step { step, ordinal } => {
                w.uint(step.0);
                w.uint(u64::from(ordinal));
            }
            Self::Obligation {
                obligation,
                attempt,
                ordinal,
            } => {
                w.uint(obligation);
                w.uint(attempt);
                w.uint(u64::from(ordinal));
            }
        }
        Ok(())
    }
}

impl Owner {
    /// The key of this form. An error only for texts of 4 GiB and more, which msgpack cannot hold.
    pub fn key(&self, form: KeyForm<'_>) -> Result<Key, EncodeError> {
        self.key_in(form, &mut Vec::new())
    }

    /// The same key, made in a buffer that the caller keeps.
    pub(crate) fn key_in(&self, form: KeyForm<'_>, buffer: &mut Vec<u8>) -> Result<Key, EncodeError> {
        buffer.clear();
        let mut w = Writer::with_bytes(std::mem::take(buffer));
        w.array(5 + form.width())?;
        w.str(form.tag(), UNLIMITED)?;
        self.put(&mut w)?;
        form.put(&mut w)?;
        *buffer = w.into_bytes();
        Ok(sum(buffer))
    }

    /// The key of this form in the shadow of this number; no sink takes it for the live instance's.
    pub fn shadow_key(&self, shadow: u64, form: KeyForm<'_>) -> Result<Key, EncodeError> {
        let mut w = Writer::default();
        w.array(7 + form.width())?;
        w.str("X", UNLIMITED)?;
        self.put(&mut w)?;
        w.uint(shadow);
        w.str(form.tag(), UNLIMITED)?;
        form.put(&mut w)?;
        Ok(sum(&w.into_bytes()))
    }

    fn put(&self, w: &mut Writer) -> Result<(), EncodeError> {
        w.str(self.address.bot.as_str(), UNLIMITED)?;
        w.str(self.address.strategy.as_str(), UNLIMITED)?;
        w.str(self.address.instance.as_str(), UNLIMITED)?;
        w.bin(&self.lineage.0, UNLIMITED)
    }
}

fn sum(array: &[u8]) -> Key {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let sum = Sha256::digest(array);
    let mut text = [0; 2 * KEY_BYTES];
    for (pair, byte) in text.chunks_exact_mut(2).zip(sum) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    let Ok(text) = std::str::from_utf8(&text) else {
        unreachable!("hex digits are ASCII")
    };
    Key::from(text)
}
