//! How values stand on the wire, and reading them, by the rules of PROTOCOL.md section 1.
//!
//! The primitives are `rmp`'s; this module adds what the contract demands on top: every length is compared with the
//! bytes that are really there, and with its limit, before anything is allocated; nesting is bounded; unknown trailing
//! fields are stepped over; and every refusal names its class, its field and its offset.

use std::collections::BTreeMap;

use rmp::decode::bytes::{Bytes, BytesReadError};
use rmp::decode::{NumValueReadError, ValueReadError};
use rmp::{Marker, decode};

use crate::error::{DecodeError, EncodeError, ErrorClass, Within};
use crate::limits::{MAX_DEPTH, MAX_ID_BYTES};
pub(crate) use crate::writer::Writer;

/// "No limit of its own": the frame's size is the limit.
pub(crate) const UNLIMITED: usize = usize::MAX;

/// A value with a fixed place in an array. `limit` bounds the bytes of a string or bin and the count of an array or map.
pub(crate) trait Wire: Sized {
    /// How many elements of the surrounding array the value takes up.
    const WIDTH: usize = 1;
    /// The fewest bytes that the value takes up.
    const LEAST_BYTES: usize;
    /// The limit of a value as an element of an array or map.
    const ELEMENT_LIMIT: usize = UNLIMITED;

    fn put(&self, w: &mut Writer, limit: usize) -> Result<(), EncodeError>;
    fn take(r: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError>;
}

/// A struct whose fields stand one after the other in an array.
pub(crate) trait Fields: Sized {
    /// How many elements the fields take up.
    const WIDTH: usize;
    /// The fewest bytes that the fields take up.
    const LEAST_BYTES: usize;

    fn put_fields(&self, w: &mut Writer) -> Result<(), EncodeError>;
    fn take_fields(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Reads msgpack from the bytes of one message.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: Bytes<'a>,
    len: usize,
    depth: usize,
    max_depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self::deep(message, MAX_DEPTH)
    }

    /// A reader of bytes that may be nested otherwise than a message.
    pub(crate) fn deep(bytes: &'a [u8], max_depth: usize) -> Self {
        Self {
            rest: Bytes::new(bytes),
            len: bytes.len(),
            depth: 0,
            max_depth,
        }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest.remaining_slice()
    }

    pub(crate) fn offset(&self) -> usize {
        self.len - self.rest().len()
    }

    pub(crate) fn fail<T>(&self, class: ErrorClass, detail: impl Into<String>) -> Result<T, DecodeError> {
        Self::fail_at(self.offset(), class, detail)
    }

    pub(crate) fn fail_at<T>(
        offset: usize,
        class: ErrorClass,
        detail: impl Into<String>,
    ) -> Result<T, DecodeError> {
        Err(DecodeError::new(offset, class, detail.into()))
    }

    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        match self.rest().len() {
            0 => Ok(()),
            count => self.fail(
                ErrorClass::TrailingBytes,
                format!("{count} bytes after the end of the array"),
            ),
        }
    }

    /// Runs one of rmp's readers; an error gets the offset at which the value began.
    fn read<T>(
        &mut self,
        expected: &'static str,
        reader: impl FnOnce(&mut Bytes<'a>) -> Result<T, ValueReadError<BytesReadError>>,
    ) -> Result<T, DecodeError> {
        let offset = self.offset();
        reader(&mut self.rest).or_else(|error| match error {
            ValueReadError::TypeMismatch(found) => Self::mismatch(offset, expected, found),
            _ => Self::fail_at(
                offset,
                ErrorClass::Truncated,
                format!("the bytes end inside {expected}"),
            ),
        })
    }

    fn int<T>(
        &mut self,
        expected: &'static str,
        reader: impl FnOnce(&mut Bytes<'a>) -> Result<T, NumValueReadError<BytesReadError>>,
    ) -> Result<T, DecodeError> {
        let offset = self.offset();
        reader(&mut self.rest).or_else(|error| match error {
            NumValueReadError::TypeMismatch(found) => Self::mismatch(offset, expected, found),
            NumValueReadError::OutOfRange => {
                Self::fail_at(offset, ErrorClass::Range, format!("not {expected}"))
            }
            _ => Self::fail_at(
                offset,
                ErrorClass::Truncated,
                format!("the bytes end inside {expected}"),
            ),
        })
    }

    fn mismatch<T>(offset: usize, expected: &str, found: Marker) -> Result<T, DecodeError> {
        match found {
            Marker::Reserved => Self::fail_at(offset, ErrorClass::Invalid, "0xc1 is no msgpack value"),
            _ => Self::fail_at(
                offset,
                ErrorClass::WrongType,
                format!("expected {expected}, found {found:?}"),
            ),
        }
    }

    pub(crate) fn wrong_type<T>(&self, expected: &str, found: Marker) -> Result<T, DecodeError> {
        Self::mismatch(self.offset(), expected, found)
    }

    #[inline(never)]
    pub(crate) fn uint(&mut self) -> Result<u64, DecodeError> {
        self.int("an unsigned 64-bit integer", decode::read_int)
    }

    #[inline(never)]
    pub(crate) fn sint(&mut self) -> Result<i64, DecodeError> {
        self.int("a signed 64-bit integer", decode::read_int)
    }

    #[inline(never)]
    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        self.read("a bool", decode::read_bool)
    }

    /// A finite float64; no other type is taken for one.
    #[inline(never)]
    pub(crate) fn f64(&mut self) -> Result<f64, DecodeError> {
        let offset = self.offset();
        let value = self.read("a float64", decode::read_f64)?;
        match value.is_finite() {
            true => Ok(value),
            false => Self::fail_at(offset, ErrorClass::Float, "not a number, or infinite"),
        }
    }

    /// A float64 of any value.
    #[inline(never)]
    pub(crate) fn any_f64(&mut self) -> Result<f64, DecodeError> {
        self.read("a float64", decode::read_f64)
    }

    pub(crate) fn marker(&self) -> Result<Marker, DecodeError> {
        match self.rest().first() {
            Some(&byte) => Ok(Marker::from_u8(byte)),
            None => self.fail(ErrorClass::Truncated, "no bytes left"),
        }
    }

    /// Takes nil if it comes next.
    #[inline(never)]
    pub(crate) fn nil(&mut self) -> Result<bool, DecodeError> {
        let found = self.marker()? == Marker::Null;
        if found {
            self.bytes(1)?;
        }
        Ok(found)
    }

    /// The next `len` bytes, which must be there.
    #[inline(never)]
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, tail)) = self.rest().split_at_checked(len) else {
            let left = self.rest().len();
            return self.fail(
                ErrorClass::Truncated,
                format!("{len} bytes promised, {left} bytes left"),
            );
        };
        self.rest = Bytes::new(tail);
        Ok(head)
    }

    fn bounded(offset: usize, found: usize, most: usize, class: ErrorClass) -> Result<(), DecodeError> {
        match found > most {
            true => Self::fail_at(offset, class, format!("{found}; at most {most} are allowed")),
            false => Ok(()),
        }
    }

    #[inline(never)]
    pub(crate) fn str(&mut self, limit: usize) -> Result<&'a str, DecodeError> {
        let offset = self.offset();
        let len = self.read("a string", decode::read_str_len)? as usize;
        let bytes = self.bytes(len)?;
        Self::bounded(offset, len, limit, ErrorClass::TooLong)?;
        std::str::from_utf8(bytes).or_else(|_| Self::fail_at(offset, ErrorClass::Utf8, "not UTF-8"))
    }

    #[inline(never)]
    pub(crate) fn bin(&mut self, limit: usize) -> Result<&'a [u8], DecodeError> {
        let offset = self.offset();
        let len = self.read("a bin", decode::read_bin_len)? as usize;
        let bytes = self.bytes(len)?;
        Self::bounded(offset, len, limit, ErrorClass::TooLong)?;
        Ok(bytes)
    }

    pub(crate) fn checked(offset: usize, wrong: Option<String>) -> Result<(), DecodeError> {
        wrong.map_or(Ok(()), |detail| Self::fail_at(offset, ErrorClass::Range, detail))
    }

    /// Refuses a count whose values cannot be in the bytes that are left; division, so that nothing can overflow.
    fn promised(&self, offset: usize, count: usize, least_bytes: usize) -> Result<(), DecodeError> {
        let left = self.rest().len();
        match count > left / least_bytes.max(1) {
            true => Self::fail_at(
                offset,
                ErrorClass::Truncated,
                format!("{count} elements promised, {left} bytes left"),
            ),
            false => Ok(()),
        }
    }

    fn enter(&mut self, offset: usize) -> Result<(), DecodeError> {
        if self.depth == self.max_depth {
            return Self::fail_at(
                offset,
                ErrorClass::TooDeep,
                format!("nested deeper than {}", self.max_depth),
            );
        }
        self.depth += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Refuses an array of fewer elements than are mandatory.
    pub(crate) fn need(offset: usize, least: usize, found: usize) -> Result<(), DecodeError> {
        match found < least {
            true => Self::fail_at(
                offset,
                ErrorClass::ShortArray,
                format!("{found} elements; {least} are mandatory"),
            ),
            false => Ok(()),
        }
    }

    /// Reads an array of at least `least` elements. `body` is given their number, takes those that it knows and returns
    /// how many these were; the rest is stepped over.
    pub(crate) fn array<T>(
        &mut self,
        least: usize,
        body: impl FnOnce(&mut Self, usize) -> Result<(T, usize), DecodeError>,
    ) -> Result<T, DecodeError> {
        let offset = self.offset();
        let found = self.read("an array", decode::read_array_len)? as usize;
        Self::need(offset, least, found)?;
        self.promised(offset, found, 1)?;
        self.enter(offset)?;
        let (value, taken) = body(self, found)?;
        for _ in taken..found {
            self.skip().map_err(|error| error.within("(unknown field)"))?;
        }
        self.leave();
        Ok(value)
    }

    /// Enters an array whose elements the caller reads, all of them, before [`Reader::close`].
    #[inline(never)]
    pub(crate) fn open_array(&mut self) -> Result<usize, DecodeError> {
        let offset = self.offset();
        let found = self.read("an array", decode::read_array_len)? as usize;
        self.promised(offset, found, 1)?;
        self.enter(offset)?;
        Ok(found)
    }

    /// Enters a map whose pairs the caller reads, all of them, before [`Reader::close`].
    #[inline(never)]
    pub(crate) fn open_map(&mut self) -> Result<usize, DecodeError> {
        let offset = self.offset();
        let found = self.read("a map", decode::read_map_len)? as usize;
        self.promised(offset, found, 2)?;
        self.enter(offset)?;
        Ok(found)
    }

    /// Enters an array of equal elements, at most `limit` of them.
    #[inline(never)]
    pub(crate) fn open_list(&mut self, least_bytes: usize, limit: usize) -> Result<usize, DecodeError> {
        let offset = self.offset();
        let found = self.read("an array", decode::read_array_len)? as usize;
        self.promised(offset, found, least_bytes)?;
        Self::bounded(offset, found, limit, ErrorClass::TooMany)?;
        self.enter(offset)?;
        Ok(found)
    }

    /// Steps over values that nobody knows.
    pub(crate) fn skip_all(&mut self, count: usize) -> Result<(), DecodeError> {
        (0..count).try_for_each(|_| self.skip().map_err(|error| error.within("(unknown field)")))
    }

    pub(crate) fn close(&mut self) {
        self.leave();
    }

    /// Refuses a name that nobody knows.
    pub(crate) fn unknown<T>(&self, offset: usize, detail: String) -> Result<T, DecodeError> {
        Self::fail_at(offset, ErrorClass::UnknownType, detail)
    }

    /// Reads the head of an array that must not be empty, and nothing of what it promises.
    pub(crate) fn peek_array(&mut self) -> Result<(), DecodeError> {
        let found = self.read("an array", decode::read_array_len)? as usize;
        Self::need(0, 1, found)
    }

    /// Reads a struct that is an array of its own.
    pub(crate) fn record<T: Fields>(&mut self) -> Result<T, DecodeError> {
        self.array(T::WIDTH, |r, _| Ok((T::take_fields(r)?, T::WIDTH)))
    }

    /// Reads an array of equal elements.
    pub(crate) fn list<T: Wire>(&mut self, limit: usize) -> Result<Vec<T>, DecodeError> {
        /// How many elements are reserved before the first of them has been read.
        const RESERVE_MOST: usize = 1024;
        let offset = self.offset();
        let found = self.read("an array", decode::read_array_len)? as usize;
        self.promised(offset, found, T::LEAST_BYTES)?;
        Self::bounded(offset, found, limit, ErrorClass::TooMany)?;
        self.enter(offset)?;
        let mut values = Vec::with_capacity(found.min(RESERVE_MOST));
        for index in 0..found {
            values.push(T::take(self, T::ELEMENT_LIMIT).map_err(|error| error.at_index(index))?);
        }
        self.leave();
        Ok(values)
    }

    /// Reads a map from strings.
    pub(crate) fn map<V: Wire>(&mut self, limit: usize) -> Result<BTreeMap<String, V>, DecodeError> {
        let offset = self.offset();
        let found = self.read("a map", decode::read_map_len)? as usize;
        self.promised(offset, found, 1 + V::LEAST_BYTES)?;
        Self::bounded(offset, found, limit, ErrorClass::TooMany)?;
        self.enter(offset)?;
        let mut map = BTreeMap::new();
        for _ in 0..found {
            let offset = self.offset();
            let key = self.str(MAX_ID_BYTES)?;
            if map.contains_key(key) {
                return Self::fail_at(
                    offset,
                    ErrorClass::DuplicateKey,
                    format!("the key {key:?} occurs twice"),
                );
            }
            let value =
                V::take(self, V::ELEMENT_LIMIT).map_err(|error| error.within(&format!("[{key:?}]")))?;
            map.insert(key.to_owned(), value);
        }
        self.leave();
        Ok(map)
    }

    /// Steps over one value of any type: its structure is checked, its meaning is not known.
    #[inline(never)]
    fn skip(&mut self) -> Result<(), DecodeError> {
        let offset = self.offset();
        let items = match self.marker()? {
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                self.read("an array", decode::read_array_len)? as usize
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                (self.read("a map", decode::read_map_len)? as usize).saturating_mul(2)
            }
            scalar => return self.skip_scalar(scalar),
        };
        self.promised(offset, items, 1)?;
        self.enter(offset)?;
        for _ in 0..items {
            self.skip()?;
        }
        self.leave();
        Ok(())
    }

    fn skip_scalar(&mut self, marker: Marker) -> Result<(), DecodeError> {
        let len = match marker {
            Marker::Reserved => return self.wrong_type("a value", marker),
            Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => 1,
            Marker::U8 | Marker::I8 => 2,
            Marker::U16 | Marker::I16 => 3,
            Marker::U32 | Marker::I32 | Marker::F32 => 5,
            Marker::U64 | Marker::I64 | Marker::F64 => 9,
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                self.read("a string", decode::read_str_len)? as usize
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                self.read("a bin", decode::read_bin_len)? as usize
            }
            _ => self.read("an ext", decode::read_ext_meta)?.size as usize,
        };
        self.bytes(len).map(drop)
    }
}
