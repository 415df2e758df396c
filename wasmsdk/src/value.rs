//! Maps of names to scalars: configurations and manual signals.

use std::collections::BTreeMap;

use rmp::Marker;

use crate::codec::{Reader, UNLIMITED, Wire, Writer};
use crate::decimal::Decimal;
use crate::error::{DecodeError, EncodeError};
use crate::limits::MAX_TEXT_BYTES;

/// A map of names to scalars, sorted bytewise by name.
pub type Values = BTreeMap<String, Value>;

/// A scalar.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite float; never money.
    Float(f64),
    /// A text.
    Str(String),
    /// Money, a price, a quantity.
    Decimal(Decimal),
}

impl Wire for Value {
    const LEAST_BYTES: usize = 1;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        match self {
            Self::Nil => w.nil(),
            Self::Bool(value) => w.bool(*value),
            Self::Int(value) => w.sint(*value),
            Self::Float(value) => w.f64(*value)?,
            Self::Str(value) => w.str(value, MAX_TEXT_BYTES)?,
            Self::Decimal(value) => value.put(w, UNLIMITED)?,
        }
        Ok(())
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        match r.marker()? {
            Marker::Null => r.nil().map(|_| Self::Nil),
            Marker::True | Marker::False => r.bool().map(Self::Bool),
            Marker::F64 => r.f64().map(Self::Float),
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                r.str(MAX_TEXT_BYTES).map(|text| Self::Str(text.to_owned()))
            }
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => Decimal::take(r, UNLIMITED).map(Self::Decimal),
            Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::U8
            | Marker::U16
            | Marker::U32
            | Marker::U64
            | Marker::I8
            | Marker::I16
            | Marker::I32
            | Marker::I64 => r.sint().map(Self::Int),
            found => r.wrong_type("nil, bool, int, float64, str or decimal", found),
        }
    }
}

macro_rules! values {
    ($($kind:ty => $variant:ident;)*) => { $(
        impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::$variant(value.into())
            }
        }
    )* };
}

values! {
    bool => Bool;
    i64 => Int;
    i32 => Int;
    f64 => Float;
    &str => Str;
    String => Str;
    Decimal => Decimal;
}
