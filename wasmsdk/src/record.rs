//! Macros that keep a struct, its order on the wire and its documentation in one place.

/// A struct whose fields stand on the wire in the order in which they are written here. `[max N]` bounds a string's or
/// bin's bytes or an array's or map's count; `[check f]` refuses a value for which `f` returns what is wrong with it.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident: $kind:ty $([max $max:expr])? $([check $check:path])?, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $kind, )*
        }

        impl $crate::codec::Fields for $name {
            const WIDTH: usize = 0 $( + <$kind as $crate::codec::Wire>::WIDTH )*;
            const LEAST_BYTES: usize = 0 $( + <$kind as $crate::codec::Wire>::LEAST_BYTES )*;

            fn put_fields(&self, w: &mut $crate::codec::Writer) -> Result<(), $crate::error::EncodeError> {
                $(
                    $( $crate::codec::Writer::checked($check(&self.$field))
                        .map_err(|error| $crate::error::Within::within(error, stringify!($field)))?; )?
                    $crate::codec::Wire::put(&self.$field, w, $crate::record::limit!($($max)?))
                        .map_err(|error| $crate::error::Within::within(error, stringify!($field)))?;
                )*
                Ok(())
            }

            fn take_fields(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::error::DecodeError> {
                Ok(Self {
                    $(
                        $field: {
                            $crate::record::begin!(r, offset $(, $check)?);
                            <$kind as $crate::codec::Wire>::take(r, $crate::record::limit!($($max)?))
                                $( .and_then(|value| $crate::codec::Reader::checked(offset, $check(&value)).map(|()| value)) )?
                                .map_err(|error| $crate::error::Within::within(error, stringify!($field)))?
                        },
                    )*
                })
            }
        }
    };
}

/// Remembers where a value begins, for those that are checked.
macro_rules! begin {
    ($r:ident, $offset:ident) => {};
    ($r:ident, $offset:ident, $check:path) => {
        let $offset = $r.offset();
    };
}

macro_rules! limit {
    () => {
        $crate::codec::UNLIMITED
    };
    ($max:expr) => {
        $max
    };
}

/// Makes records that are arrays of their own within another array.
macro_rules! nested {
    ($($name:ident),* $(,)?) => { $(
        impl $crate::codec::Wire for $name {
            const LEAST_BYTES: usize = 1 + <$name as $crate::codec::Fields>::LEAST_BYTES;

            fn put(&self, w: &mut $crate::codec::Writer, _: usize) -> Result<(), $crate::error::EncodeError> {
                w.array(<$name as $crate::codec::Fields>::WIDTH)?;
                $crate::codec::Fields::put_fields(self, w)
            }

            fn take(r: &mut $crate::codec::Reader<'_>, _: usize) -> Result<Self, $crate::error::DecodeError> {
                r.record()
            }
        }
    )* };
}

/// An enumeration that is one small unsigned integer on the wire. Values are fixed for ever.
macro_rules! number_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident as $what:literal, $class:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $value:literal $text:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant = $value, )*
        }

        impl $name {
            /// The value of this number; `None` when there is none.
            pub fn from_number(number: u64) -> Option<Self> {
                match number {
                    $( $value => Some(Self::$variant), )*
                    _ => None,
                }
            }

            /// The name used in descriptors, metrics and logs.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::codec::Wire for $name {
            const LEAST_BYTES: usize = 1;

            fn put(&self, w: &mut $crate::codec::Writer, _: usize) -> Result<(), $crate::error::EncodeError> {
                w.uint(*self as u64);
                Ok(())
            }

            fn take(r: &mut $crate::codec::Reader<'_>, _: usize) -> Result<Self, $crate::error::DecodeError> {
                let offset = r.offset();
                let number = r.uint()?;
                Self::from_number(number).map_or_else(
                    || {
                        $crate::codec::Reader::fail_at(
                            offset,
                            if number > 255 { $crate::error::ErrorClass::Range } else { $crate::error::ErrorClass::$class },
                            format!(concat!("there is no ", $what, " {}"), number),
                        )
                    },
                    Ok,
                )
            }
        }
    };
}

/// A sum of records: `[number, fields…]` on the wire.
macro_rules! tagged {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $kind:ident {
            $( $(#[$variant_meta:meta])* $variant:ident($body:ty) $text:literal, )*
        }
    ) => {
        $(#[$meta])*
        // A value is read in place and handed on by reference; a box would cost an allocation for every one of them.
        #[allow(clippy::large_enum_variant)]
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant($body), )*
        }

        impl $name {
            /// The number that stands first on the wire.
            pub fn kind(&self) -> $kind {
                match self {
                    $( Self::$variant(_) => $kind::$variant, )*
                }
            }
        }

        $(
            impl From<$body> for $name {
                fn from(body: $body) -> Self {
                    Self::$variant(body)
                }
            }
        )*

        impl $crate::codec::Wire for $name {
            // The array, the kind and at least one field.
            const LEAST_BYTES: usize = 3;

            fn put(&self, w: &mut $crate::codec::Writer, limit: usize) -> Result<(), $crate::error::EncodeError> {
                use $crate::codec::Fields;
                use $crate::error::Within;
                match self {
                    $( Self::$variant(body) => {
                        w.array(1 + <$body>::WIDTH)?;
                        self.kind().put(w, limit)?;
                        body.put_fields(w).map_err(|error| error.within($text))
                    } )*
                }
            }

            fn take(r: &mut $crate::codec::Reader<'_>, _: usize) -> Result<Self, $crate::error::DecodeError> {
                Self::take_least(r, 1)
            }
        }

        impl $name {
            /// How many fields follow the number of a kind.
            #[allow(dead_code, reason = "only messages are judged by their kind before they are read")]
            fn width(kind: $kind) -> usize {
                match kind {
                    $( $kind::$variant => <$body as $crate::codec::Fields>::WIDTH, )*
                }
            }

            /// Reads an array of at least `least` elements.
            fn take_least(
                r: &mut $crate::codec::Reader<'_>,
                least: usize,
            ) -> Result<Self, $crate::error::DecodeError> {
                use $crate::codec::{Fields, Wire};
                use $crate::error::Within;
                let offset = r.offset();
                r.array(least, |r, found| {
                    match $kind::take(r, 0).map_err(|error| error.within("kind"))? {
                        $( $kind::$variant => {
                            $crate::codec::Reader::need(offset, 1 + <$body>::WIDTH, found)
                                .map_err(|error| error.within($text))?;
                            let body = <$body>::take_fields(r).map_err(|error| error.within($text))?;
                            Ok((Self::$variant(body), 1 + <$body>::WIDTH))
                        } )*
                    }
                })
            }
        }
    };
}

/// A number of one byte that is no enumeration: flags, or a number that may be of a later version of the contract.
macro_rules! byte {
    ($($name:ident),*) => { $(
        impl $crate::codec::Wire for $name {
            const LEAST_BYTES: usize = 1;

            fn put(&self, w: &mut $crate::codec::Writer, _: usize) -> Result<(), $crate::error::EncodeError> {
                w.uint(u64::from(self.0));
                Ok(())
            }

            fn take(r: &mut $crate::codec::Reader<'_>, _: usize) -> Result<Self, $crate::error::DecodeError> {
                let offset = r.offset();
                match u8::try_from(r.uint()?) {
                    Ok(number) => Ok(Self(number)),
                    Err(_) => $crate::codec::Reader::fail_at(
                        offset,
                        $crate::error::ErrorClass::Range,
                        "not an unsigned 8-bit integer",
                    ),
                }
            }
        }
    )* };
}

pub(crate) use {begin, byte, limit, nested, number_enum, record, tagged};
