//! Identifiers and numbers that must not be mixed up, as types of their own.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Add, Sub};

use crate::codec::{Reader, Wire, Writer};
use crate::error::{DecodeError, EncodeError};
use crate::limits::{MAX_ID_BYTES, MAX_TAG_BYTES};
use crate::record::{nested, number_enum, record};
use crate::text::Text;

macro_rules! text_id {
    ($( $(#[$meta:meta])* $name:ident at most $max:expr; )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Text);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Whether there is no text.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Text::new(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Text::new(&text))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        /// For maps whose keys are looked up by a text.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0.as_bytes() == other.as_bytes()
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0.as_bytes() == other.as_bytes()
            }
        }

        impl Wire for $name {
            const LEAST_BYTES: usize = 1;

            fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
                w.utf8(self.0.as_bytes(), $max)
            }

            fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
                r.str($max).map(Self::from)
            }
        }
    )* };
}

text_id! {
    /// Names an account-level group of strategies.
    BotId at most MAX_ID_BYTES;
    /// Names a strategy, over all its versions.
    StrategyId at most MAX_ID_BYTES;
    /// Names one shard of a strategy within a bot.
    InstanceId at most MAX_ID_BYTES;
    /// Names what is traded, for example `BTCUSDT.BINANCE`.
    InstrumentId at most MAX_ID_BYTES;
    /// Names a stream of events that is numbered on its own.
    SourceId at most MAX_ID_BYTES;
    /// Names one run of one supervisor process (BC-A).
    RunId at most MAX_ID_BYTES;
    /// Follows one event through every domain (BC-A).
    TraceId at most MAX_ID_BYTES;
    /// An idempotency key: 32 lower-case hex characters, usable as a client order id at any venue (GT-5). What comes from
    /// outside may be anything; see [`Key::is_valid`].
    Key at most MAX_ID_BYTES;
    /// Why something was restricted, dropped, refused, killed or halted.
    ReasonCode at most MAX_TAG_BYTES;
}

impl Key {
    /// Whether the key has the canonical form.
    pub fn is_valid(&self) -> bool {
        let bytes = self.0.as_bytes();
        bytes.len() == 32 && bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

macro_rules! number {
    ($( $(#[$meta:meta])* $name:ident($kind:ty) by $put:ident; )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $kind);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$kind> for $name {
            fn from(number: $kind) -> Self {
                Self(number)
            }
        }

        impl Wire for $name {
            const LEAST_BYTES: usize = 1;

            fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
                w.$put(self.0);
                Ok(())
            }

            fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
                r.$put().map(Self)
            }
        }
    )* };
}

number! {
    /// Numbers the deliveries to the strategy of one instance, from 1, for ever.
    Step(u64) by uint;
    /// Counts the starts of one instance; a higher one bars every lower one (LS-3).
    Epoch(u64) by uint;
    /// A time (ns since the Unix epoch, UTC) or a length of time in ns, as the field says.
    Nanos(i64) by sint;
}

impl Nanos {
    /// A second.
    pub const SECOND: Self = Self(1_000_000_000);

    /// So many seconds, at most the longest time that there is.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// So many milliseconds, at most the longest time that there is.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }
}

/// Saturates: 292 years are enough for everything, and a strategy must not end at a sum.
impl Add for Nanos {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Saturates.
impl Sub for Nanos {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

macro_rules! fixed_bytes {
    ($( $(#[$meta:meta])* $name:ident($len:literal); )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            /// Lower-case hex.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl Wire for $name {
            const LEAST_BYTES: usize = 2 + $len;

            fn put(&self, w: &mut Writer, limit: usize) -> Result<(), EncodeError> {
                self.0.put(w, limit)
            }

            fn take(r: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
                <[u8; $len]>::take(r, limit).map(Self)
            }
        }
    )* };
}

fixed_bytes! {
    /// The random identity that an instance receives when it is first created.
    Lineage(16);
    /// Identifies one process start of an owner at I (LS-2).
    Nonce(16);
    /// A SHA-256 sum.
    Digest(32);
}

record! {
    /// Names one instance everywhere: the unit of state, lease, sandbox and health (DM-2).
    #[derive(Eq, Hash, PartialOrd, Ord)]
    pub struct Address {
        /// The group.
        bot: BotId,
        /// The strategy.
        strategy: StrategyId,
        /// The shard.
        instance: InstanceId,
    }
}

impl fmt::Display for Address {
    /// `bot/strategy/instance`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.bot, self.strategy, self.instance)
    }
}

record! {
    /// Says how far a source has been taken (ST-1, BC-H): I and J/E number per (instance, source epoch) from 1 without gaps.
    #[derive(Eq, Hash)]
    pub struct Cursor {
        /// The stream.
        source: SourceId,
        /// Rises when the stream starts anew.
        source_epoch: u64,
        /// Number within (source, source epoch).
        seq: u64,
    }
}

nested!(Address, Cursor);

number_enum! {
    /// One of the two scheduling classes that never disturb each other (NN-4).
    pub enum Lane as "lane", Range {
        /// Low latency.
        Ll = 1 "ll",
        /// Heavy computing.
        Compute = 2 "compute",
    }
}
