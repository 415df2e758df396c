//! The strategy's persisted state (ST-1, NN-3).
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use msup::{Decimal, State};
//!
//! #[derive(State, Clone, Debug, Default, PartialEq)]
//! struct Leg {
//!     ema: Option<f64>,
//!     position: Decimal,
//! }
//!
//! #[derive(State, Default)]
//! #[state(version = 2)]
//! struct Book {
//!     legs: BTreeMap<String, Leg>,
//!     window: Vec<f64>,
//! }
//! # let mut bytes = Vec::new();
//! # Book::default().save_state(&mut bytes).unwrap();
//! # assert!(Book::load_state(&bytes).unwrap().legs.is_empty());
//! # assert_eq!(Book::VERSION, 2);
//! ```
//!
//! It is written with msgpack, structs as maps of their fields, so that the same state always has the same bytes. A field
//! that the bytes lack keeps its default; one that the struct lacks is refused: whoever changes the meaning of a field raises
//! `version` and writes [`Strategy::migrate`](crate::strategy::Strategy::migrate).
//!
//! There is no way to keep a `HashMap` or a `HashSet`: their order is not the same in a replay, and what a strategy decides
//! while it goes through one would not be either. `BTreeMap` and `BTreeSet` are sorted.
//!
//! ```compile_fail
//! #[derive(msup::State, Default)]
//! struct Book {
//!     legs: std::collections::HashMap<String, f64>, // error: use BTreeMap
//! }
//! ```

use rmp::Marker;

use crate::codec::{Reader, UNLIMITED, Wire, Writer};
use crate::error::{DecodeError, EncodeError, ErrorClass, Within};
use crate::fault::{Error, FaultKind, Result};

/// How deep a state may be nested; written and read alike.
const MAX_STATE_DEPTH: usize = 256;

/// All that survives a restart; made by `#[derive(State, Default)]`.
///
/// Implement it by hand to keep the state in a form of your own: it must be deterministic.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no state",
    note = "write #[derive(msup::State, Default)] above the struct"
)]
pub trait State: Default {
    /// Rises whenever the state changes its meaning (`state_schema_version`, ST-1); from 1.
    const VERSION: u32 = 1;

    /// Appends the state's bytes.
    fn save_state(&self, bytes: &mut Vec<u8>) -> Result;

    /// Reads back what [`State::save_state`] wrote.
    fn load_state(bytes: &[u8]) -> Result<Self>;
}

/// The state of a strategy that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoState;

impl State for NoState {
    fn save_state(&self, bytes: &mut Vec<u8>) -> Result {
        bytes.push(0x80); // an empty map, as of a struct without fields
        Ok(())
    }

    fn load_state(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [0x80] => Ok(Self),
            _ => Err(Error::state(format!(
                "{} bytes of state for a strategy that has none; raise its state's version and write migrate",
                bytes.len()
            ))),
        }
    }
}

/// What a field of a state may be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in a state",
    note = "use numbers, bool, String, Decimal, the ids of msup, Option, Vec, VecDeque, arrays, tuples, BTreeMap, BTreeSet, \
            or a struct or enum of these with #[derive(msup::State, Default)]",
    note = "HashMap and HashSet have an order that a replay does not repeat: use BTreeMap and BTreeSet"
)]
pub trait StateValue: Sized {
    /// Writes the value.
    fn put(&self, w: &mut StateWriter) -> std::result::Result<(), EncodeError>;

    /// Reads it.
    fn take(r: &mut StateReader<'_>) -> std::result::Result<Self, DecodeError>;

    /// Writes several, as an array unless the type knows better.
    fn put_all<'a>(
        items: impl ExactSizeIterator<Item = &'a Self>,
        w: &mut StateWriter,
    ) -> std::result::Result<(), EncodeError>
    where
        Self: 'a,
    {
        w.array(items.len(), |w| {
            items
                .enumerate()
                .try_for_each(|(index, item)| item.put(w).map_err(|error| error.at_index(index)))
        })
    }

    /// Reads several.
    fn take_all(r: &mut StateReader<'_>) -> std::result::Result<Vec<Self>, DecodeError> {
        let mut items = Vec::new();
        r.array(|r, index| {
            items.push(Self::take(r).map_err(|error| error.at_index(index))?);
            Ok(())
        })?;
        Ok(items)
    }
}

/// Writes the bytes of a state.
#[derive(Debug, Default)]
pub struct StateWriter {
    pub(crate) w: Writer,
    depth: usize,
}

impl StateWriter {
    pub(crate) fn wire<T: Wire>(&mut self, value: &T) -> std::result::Result<(), EncodeError> {
        value.put(&mut self.w, UNLIMITED)
    }

    fn deeper(
        &mut self,
        body: impl FnOnce(&mut Self) -> std::result::Result<(), EncodeError>,
    ) -> std::result::Result<(), EncodeError> {
        if self.depth == MAX_STATE_DEPTH {
            return Err(EncodeError::new(
                ErrorClass::TooDeep,
                format!("nested deeper than {MAX_STATE_DEPTH}"),
            ));
        }
        self.depth += 1;
        body(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// Writes an array of so many values, which `body` writes.
    pub fn array(
        &mut self,
        len: usize,
        body: impl FnOnce(&mut Self) -> std::result::Result<(), EncodeError>,
    ) -> std::result::Result<(), EncodeError> {
        self.w.array(len)?;
        self.deeper(body)
    }

    /// Writes a map of so many pairs, which `body` writes.
    pub fn map(
        &mut self,
        len: usize,
        body: impl FnOnce(&mut Self) -> std::result::Result<(), EncodeError>,
    ) -> std::result::Result<(), EncodeError> {
        self.w.map(len)?;
        self.deeper(body)
    }

    /// Writes one field of a struct, within [`StateWriter::map`].
    pub fn field<T: StateValue>(&mut self, name: &str, value: &T) -> std::result::Result<(), EncodeError> {
        self.w.str(name, UNLIMITED)?;
        value.put(self).map_err(|error| error.within(name))
    }

    /// Writes a text.
    pub fn text(&mut self, text: &str) -> std::result::Result<(), EncodeError> {
        self.w.str(text, UNLIMITED)
    }
}

/// Reads the bytes of a state.
#[derive(Debug)]
pub struct StateReader<'a> {
    pub(crate) r: Reader<'a>,
}

impl StateReader<'_> {
    pub(crate) fn wire<T: Wire>(&mut self) -> std::result::Result<T, DecodeError> {
        T::take(&mut self.r, UNLIMITED)
    }

    /// Takes nil if it comes next.
    pub fn nil(&mut self) -> std::result::Result<bool, DecodeError> {
        self.r.nil()
    }

    /// Reads an array; `item` is called for every value, with its index.
    pub fn array(
        &mut self,
        mut item: impl FnMut(&mut Self, usize) -> std::result::Result<(), DecodeError>,
    ) -> std::result::Result<usize, DecodeError> {
        let count = self.r.open_array()?;
        for index in 0..count {
            item(self, index)?;
        }
        self.r.close();
        Ok(count)
    }

    /// Reads a map; `pair` is called for every key, with the reader at the key.
    pub fn map(
        &mut self,
        mut pair: impl FnMut(&mut Self) -> std::result::Result<(), DecodeError>,
    ) -> std::result::Result<(), DecodeError> {
        let count = self.r.open_map()?;
        for _ in 0..count {
            pair(self)?;
        }
        self.r.close();
        Ok(())
    }

    /// Reads a struct; `field` takes the field of the name and says whether there is one.
    pub fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> std::result::Result<bool, DecodeError>,
    ) -> std::result::Result<(), DecodeError> {
        self.map(|r| {
            let offset = r.r.offset();
            let name = r.r.str(UNLIMITED)?;
            match field(r, name).map_err(|error| error.within(name))? {
                true => Ok(()),
                false => r.r.unknown(offset, format!("there is no field {name:?}")),
            }
        })
    }

    /// Reads a text.
    pub fn text(&mut self) -> std::result::Result<String, DecodeError> {
        self.r.str(UNLIMITED).map(str::to_owned)
    }

    /// Refuses the value that has just been read.
    pub fn refuse<T>(&self, detail: impl Into<String>) -> std::result::Result<T, DecodeError> {
        self.r.fail(ErrorClass::Range, detail)
    }

    pub(crate) fn marker(&self) -> std::result::Result<Marker, DecodeError> {
        self.r.marker()
    }
}

/// Appends the bytes of a derived state.
#[doc(hidden)]
pub fn save<T: StateValue>(name: &str, state: &T, bytes: &mut Vec<u8>) -> Result {
    let mut w = StateWriter {
        w: Writer::with_bytes(std::mem::take(bytes)),
        depth: 0,
    };
    let written = state.put(&mut w);
    *bytes = w.w.into_bytes();
    written.map_err(|error| Error::of(FaultKind::State, format!("{name} cannot be written: {error}")))
}

/// Reads what [`save`] wrote.
#[doc(hidden)]
pub fn load<T: StateValue>(name: &str, bytes: &[u8]) -> Result<T> {
    let mut r = StateReader {
        r: Reader::deep(bytes, MAX_STATE_DEPTH),
    };
    T::take(&mut r)
        .and_then(|state| r.r.finish().map(|()| state))
        .map_err(|error| {
            Error::of(
                FaultKind::State,
                format!(
                    "{} bytes are no {name}: {error}; a changed state needs a higher #[state(version = …)] and \
                     migrate(from_version, data)",
                    bytes.len()
                ),
            )
        })
}
