//! How the types that a state may be made of stand in its bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rmp::Marker;

use crate::codec::UNLIMITED;
use crate::decimal::Decimal;
use crate::error::{DecodeError, EncodeError, Within};
use crate::id::{BotId, InstanceId, InstrumentId, Key, Nanos, SourceId, Step, StrategyId, TraceId};
use crate::intent::Side;
use crate::state::{StateReader, StateValue, StateWriter};

type Put = Result<(), EncodeError>;
type Take<T> = Result<T, DecodeError>;

/// Types that stand as they do on the wire.
macro_rules! as_on_the_wire {
    ($($kind:ty),*) => { $(
        impl StateValue for $kind {
            fn put(&self, w: &mut StateWriter) -> Put {
                w.wire(self)
            }

            fn take(r: &mut StateReader<'_>) -> Take<Self> {
                r.wire()
            }
        }
    )* };
}

as_on_the_wire!(
    bool,
    String,
    Decimal,
    Nanos,
    Step,
    Key,
    InstrumentId,
    SourceId,
    TraceId,
    BotId,
    StrategyId,
    InstanceId,
    Side
);

macro_rules! integers {
    ($($kind:ty: $put:ident as $wide:ty;)*) => { $(
        impl StateValue for $kind {
            fn put(&self, w: &mut StateWriter) -> Put {
                w.w.$put(*self as $wide);
                Ok(())
            }

            fn take(r: &mut StateReader<'_>) -> Take<Self> {
                let number = r.r.$put()?;
                Self::try_from(number).or_else(|_| r.refuse(format!("{number} does not fit the field")))
            }
        }
    )* };
}

integers! {
    i64: sint as i64;
    i32: sint as i64;
    i16: sint as i64;
    i8: sint as i64;
    isize: sint as i64;
    u64: uint as u64;
    u32: uint as u64;
    u16: uint as u64;
    usize: uint as u64;
}

/// A byte; several of them are a bin.
impl StateValue for u8 {
    fn put(&self, w: &mut StateWriter) -> Put {
        w.w.uint((*self).into());
        Ok(())
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        let number = r.r.uint()?;
        Self::try_from(number).or_else(|_| r.refuse(format!("{number} is no byte")))
    }

    fn put_all<'a>(items: impl ExactSizeIterator<Item = &'a Self>, w: &mut StateWriter) -> Put {
        let bytes: Vec<Self> = items.copied().collect();
        w.w.bin(&bytes, UNLIMITED)
    }

    fn take_all(r: &mut StateReader<'_>) -> Take<Vec<Self>> {
        r.r.bin(UNLIMITED).map(<[Self]>::to_vec)
    }
}

/// Any float; every NaN is the same one, for the bits of a NaN differ between machines.
impl StateValue for f64 {
    fn put(&self, w: &mut StateWriter) -> Put {
        w.w.any_f64(if self.is_nan() { Self::NAN } else { *self });
        Ok(())
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        r.r.any_f64()
    }
}

impl<T: StateValue> StateValue for Option<T> {
    fn put(&self, w: &mut StateWriter) -> Put {
        match self {
            Some(value) => value.put(w),
            None => {
                w.w.nil();
                Ok(())
            }
        }
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        match r.marker()? {
            Marker::Null => r.nil().map(|_| None),
            _ => T::take(r).map(Some),
        }
    }
}

impl<T: StateValue> StateValue for Box<T> {
    fn put(&self, w: &mut StateWriter) -> Put {
        (**self).put(w)
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        T::take(r).map(Self::new)
    }
}

impl<T: StateValue> StateValue for Vec<T> {
    fn put(&self, w: &mut StateWriter) -> Put {
        T::put_all(self.iter(), w)
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        T::take_all(r)
    }
}

impl<T: StateValue> StateValue for VecDeque<T> {
    fn put(&self, w: &mut StateWriter) -> Put {
        T::put_all(self.iter(), w)
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        T::take_all(r).map(Into::into)
    }
}

impl<T: StateValue, const N: usize> StateValue for [T; N] {
    fn put(&self, w: &mut StateWriter) -> Put {
        T::put_all(self.iter(), w)
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        let items = T::take_all(r)?;
        let count = items.len();
        match items.try_into() {
            Ok(array) => Ok(array),
            Err(_) => r.refuse(format!("{count} values; the field holds {N}")),
        }
    }
}

impl<T: StateValue + Ord> StateValue for BTreeSet<T> {
    fn put(&self, w: &mut StateWriter) -> Put {
        T::put_all(self.iter(), w)
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        T::take_all(r).map(Self::from_iter)
    }
}

impl<K: StateValue + Ord, V: StateValue> StateValue for BTreeMap<K, V> {
    fn put(&self, w: &mut StateWriter) -> Put {
        w.map(self.len(), |w| {
            self.iter().enumerate().try_for_each(|(index, (key, value))| {
                key.put(w)
                    .and_then(|()| value.put(w))
                    .map_err(|error| error.at_index(index))
            })
        })
    }

    fn take(r: &mut StateReader<'_>) -> Take<Self> {
        let mut map = Self::new();
        r.map(|r| {
            let index = map.len();
            let key = K::take(r).map_err(|error| error.at_index(index))?;
            let value = V::take(r).map_err(|error| error.at_index(index))?;
            match map.insert(key, value) {
                None => Ok(()),
                Some(_) => r.refuse("a key comes twice"),
            }
        })?;
        Ok(map)
    }
}

macro_rules! tuples {
    ($($count:literal: $($name:ident $index:tt),*;)*) => { $(
        impl<$($name: StateValue),*> StateValue for ($($name,)*) {
            fn put(&self, w: &mut StateWriter) -> Put {
                w.array($count, |w| {
                    $( self.$index.put(w)?; )*
                    Ok(())
                })
            }

            fn take(r: &mut StateReader<'_>) -> Take<Self> {
                let mut parts = ($(None::<$name>,)*);
                let count = r.array(|r, index| {
                    match index {
                        $( $index => parts.$index = Some($name::take(r)?), )*
                        _ => return r.refuse(concat!("more than ", $count, " values")),
                    }
                    Ok(())
                })?;
                match parts {
                    ($(Some($name),)*) => Ok(($($name,)*)),
                    _ => r.refuse(format!(concat!("{} values; the field holds ", $count), count)),
                }
            }
        }
    )* };
}

#[allow(non_snake_case, reason = "the parts are called as their types are")]
mod tuples {
    use super::*;

    tuples! {
        1: A 0;
        2: A 0, B 1;
        3: A 0, B 1, C 2;
        4: A 0, B 1, C 2, D 3;
    }
}
