//! How the scalar types and the containers of the contract stand on the wire.

use std::collections::BTreeMap;

use rmp::Marker;

use crate::codec::{Reader, UNLIMITED, Wire, Writer};
use crate::decimal::Decimal;
use crate::error::{DecodeError, EncodeError, ErrorClass, Within};
use crate::limits::{MAX_ANSWER_BYTES, MAX_ID_BYTES, MAX_TAG_BYTES};

/// The msgpack ext type of a decimal and its length in bytes.
const DECIMAL_EXT: i8 = 1;
const DECIMAL_BYTES: u8 = 9;
const DECIMAL_HEAD: [u8; 3] = [0xc7, DECIMAL_BYTES, 1];

impl Wire for bool {
    const LEAST_BYTES: usize = 1;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        w.bool(*self);
        Ok(())
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        r.bool()
    }
}

impl Wire for u64 {
    const LEAST_BYTES: usize = 1;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        w.uint(*self);
        Ok(())
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        r.uint()
    }
}

impl Wire for u32 {
    const LEAST_BYTES: usize = 1;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        w.uint(u64::from(*self));
        Ok(())
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        let offset = r.offset();
        Self::try_from(r.uint()?)
            .or_else(|_| Reader::fail_at(offset, ErrorClass::Range, "not an unsigned 32-bit integer"))
    }
}

impl Wire for String {
    const LEAST_BYTES: usize = 1;
    const ELEMENT_LIMIT: usize = MAX_TAG_BYTES;

    fn put(&self, w: &mut Writer, limit: usize) -> Result<(), EncodeError> {
        w.str(self, limit)
    }

    fn take(r: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        r.str(limit).map(str::to_owned)
    }
}

/// Bytes are a msgpack bin.
impl Wire for Vec<u8> {
    const LEAST_BYTES: usize = 2;
    const ELEMENT_LIMIT: usize = MAX_ANSWER_BYTES;

    fn put(&self, w: &mut Writer, limit: usize) -> Result<(), EncodeError> {
        w.bin(self, limit)
    }

    fn take(r: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        r.bin(limit).map(<[u8]>::to_vec)
    }
}

/// Bytes of a fixed length are a msgpack bin of exactly that length.
impl<const N: usize> Wire for [u8; N] {
    const LEAST_BYTES: usize = 2 + N;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        w.bin(self, UNLIMITED)
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        let offset = r.offset();
        let bytes = r.bin(UNLIMITED)?;
        bytes.try_into().or_else(|_| {
            Reader::fail_at(
                offset,
                ErrorClass::TooLong,
                format!("{} bytes; it must have {N}", bytes.len()),
            )
        })
    }
}

impl Wire for Decimal {
    const LEAST_BYTES: usize = 12;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        let mut data = [0; DECIMAL_BYTES as usize];
        data[..8].copy_from_slice(&self.mantissa().to_be_bytes());
        data[8..].copy_from_slice(&self.exponent().to_be_bytes());
        w.ext(DECIMAL_EXT, &data)
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        let rest = r.rest();
        if rest.is_empty() || rest.starts_with(&DECIMAL_HEAD) || DECIMAL_HEAD.starts_with(rest) {
            return take_decimal(r);
        }
        match Marker::from_u8(rest[0]) {
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => r.fail(
                ErrorClass::Decimal,
                "not extension type 1 of 9 bytes with a one-byte length",
            ),
            found => r.wrong_type("a decimal", found),
        }
    }
}

fn take_decimal(r: &mut Reader<'_>) -> Result<Decimal, DecodeError> {
    let offset = r.offset();
    let bytes = r.bytes(Decimal::LEAST_BYTES)?;
    let &[_, _, _, m0, m1, m2, m3, m4, m5, m6, m7, exponent] = bytes else {
        return Reader::fail_at(offset, ErrorClass::Truncated, "the decimal is cut off");
    };
    let mantissa = i64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]);
    let exponent = i8::from_be_bytes([exponent]);
    match Decimal::from_canonical(mantissa, exponent) {
        Some(decimal) => Ok(decimal),
        None => Reader::fail_at(
            offset,
            ErrorClass::Decimal,
            format!("{mantissa}·10^{exponent} is not canonical"),
        ),
    }
}

impl<T: Wire> Wire for Option<T> {
    const LEAST_BYTES: usize = 1;
    const ELEMENT_LIMIT: usize = T::ELEMENT_LIMIT;

    fn put(&self, w: &mut Writer, limit: usize) -> Result<(), EncodeError> {
        match self {
            Some(value) => value.put(w, limit),
            None => {
                w.nil();
                Ok(())
            }
        }
    }

    fn take(r: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        if r.nil()? {
            Ok(None)
        } else {
            T::take(r, limit).map(Some)
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    const LEAST_BYTES: usize = 1;

    fn put(&self, w: &mut Writer, limit: usize) -> Result<(), EncodeError> {
        Writer::bounded(self.len(), limit, ErrorClass::TooMany)?;
        w.array(self.len())?;
        for (index, value) in self.iter().enumerate() {
            value
                .put(w, T::ELEMENT_LIMIT)
                .map_err(|error| error.at_index(index))?;
        }
        Ok(())
    }

    fn take(r: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        r.list(limit)
    }
}

/// Maps are written with their keys sorted bytewise, which is the order of a `BTreeMap` of strings.
impl<V: Wire> Wire for BTreeMap<String, V> {
    const LEAST_BYTES: usize = 1;

    fn put(&self, w: &mut Writer, limit: usize) -> Result<(), EncodeError> {
        Writer::bounded(self.len(), limit, ErrorClass::TooMany)?;
        w.map(self.len())?;
        for (key, value) in self {
            w.str(key, MAX_ID_BYTES)?;
            value
                .put(w, V::ELEMENT_LIMIT)
                .map_err(|error| error.within(&format!("[{key:?}]")))?;
        }
        Ok(())
    }

    fn take(r: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        r.map(limit)
    }
}
