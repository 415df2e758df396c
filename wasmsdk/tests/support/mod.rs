//! What the tests share: for every type of the contract its JSON form (as in the vectors' README) and a random value.
//!
//! The fields are listed here by name once more, on purpose: were they taken from the crate, a field with a wrong name
//! would agree with itself.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

mod records;

use std::collections::BTreeMap;
use std::fmt::Write;

use msup::answer::*;
use msup::decimal::Decimal;
use msup::event::*;
use msup::execution::*;
use msup::id::*;
use msup::intent::*;
use msup::market::*;
use msup::message::*;
use msup::rng::Rng;
use msup::value::Value;
use serde_json::{Map, Number, Value as JsonValue, json};

/// The JSON form of a value.
pub trait Json {
    fn json(&self) -> JsonValue;

    /// Adds the value to an object; a header adds its fields instead.
    fn add_to(&self, object: &mut Map<String, JsonValue>, name: &str) {
        object.insert(name.to_owned(), self.json());
    }
}

/// A random value.
pub trait Random: Sized {
    fn random(rng: &mut Rng) -> Self;
}

/// One value of every variant.
pub trait Each: Sized {
    fn each(rng: &mut Rng) -> Vec<Self>;
}

pub fn seeded(seed: u64) -> Rng {
    Rng::new(seed, &InstanceId::from("test"), Step(1)).expect("a short id")
}

fn below(rng: &mut Rng, most: usize) -> usize {
    usize::try_from(rng.next_u64() % most as u64).expect("below a usize")
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[below(rng, from.len())]
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len() % 2 == 0, "hex of odd length");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

impl Json for bool {
    fn json(&self) -> JsonValue {
        json!(self)
    }
}

impl Random for bool {
    fn random(rng: &mut Rng) -> Self {
        rng.next_u64() & 1 == 1
    }
}

impl Json for u64 {
    fn json(&self) -> JsonValue {
        json!(self)
    }
}

impl Random for u64 {
    fn random(rng: &mut Rng) -> Self {
        let edge = pick(rng, &[0, 1 << 7, 1 << 8, 1 << 16, 1 << 32, 1 << 63]);
        match below(rng, 4) {
            0 => edge,
            1 => edge.wrapping_sub(1),
            2 => rng.next_u64() >> below(rng, 64),
            _ => rng.next_u64() % 1000,
        }
    }
}

impl Json for u32 {
    fn json(&self) -> JsonValue {
        json!(self)
    }
}

impl Random for u32 {
    fn random(rng: &mut Rng) -> Self {
        u64::random(rng) as Self
    }
}

impl Json for String {
    fn json(&self) -> JsonValue {
        json!(self)
    }
}

impl Random for String {
    /// At most 64 bytes, the least of all limits.
    fn random(rng: &mut Rng) -> Self {
        let most = pick(rng, &[1, 3, 8, 33, 65]);
        let chars = ['a', 'Z', '7', '-', 'ä', '戦', '🚀', '\0', '"', '\u{ffff}'];
        let mut text = Self::new();
        for _ in 0..below(rng, most) {
            let next = pick(rng, &chars);
            if text.len() + next.len_utf8() <= 64 {
                text.push(next);
            }
        }
        text
    }
}

impl Json for Vec<u8> {
    fn json(&self) -> JsonValue {
        json!(hex(self))
    }
}

impl Random for Vec<u8> {
    fn random(rng: &mut Rng) -> Self {
        let most = pick(rng, &[1, 20, 300, 65_537]);
        (0..below(rng, most)).map(|_| rng.next_u64() as u8).collect()
    }
}

impl Json for Decimal {
    fn json(&self) -> JsonValue {
        json!(self.to_string())
    }
}

impl Random for Decimal {
    fn random(rng: &mut Rng) -> Self {
        loop {
            let mantissa = (rng.next_u64() as i64) >> below(rng, 64);
            let any = rng.next_u64() as i8;
            let exponent = pick(rng, &[0, -2, -8, 5, 127, -128, any]);
            if let Some(decimal) = Self::new(mantissa, exponent) {
                return decimal;
            }
        }
    }
}

impl<T: Json> Json for Option<T> {
    fn json(&self) -> JsonValue {
        self.as_ref().map_or(JsonValue::Null, Json::json)
    }
}

impl<T: Random> Random for Option<T> {
    fn random(rng: &mut Rng) -> Self {
        bool::random(rng).then(|| T::random(rng))
    }
}

impl<T: Json> Json for Vec<T> {
    fn json(&self) -> JsonValue {
        self.iter().map(Json::json).collect()
    }
}

impl<T: Random + Json> Random for Vec<T> {
    fn random(rng: &mut Rng) -> Self {
        let most = pick(rng, &[1, 2, 4, 20]);
        (0..below(rng, most)).map(|_| T::random(rng)).collect()
    }
}

impl<V: Json> Json for BTreeMap<String, V> {
    fn json(&self) -> JsonValue {
        self.iter()
            .map(|(name, value)| (name.clone(), value.json()))
            .collect()
    }
}

impl<V: Random> Random for BTreeMap<String, V> {
    fn random(rng: &mut Rng) -> Self {
        let most = pick(rng, &[1, 4, 20]);
        (0..below(rng, most))
            .map(|_| (String::random(rng), V::random(rng)))
            .collect()
    }
}

fn float(value: f64) -> JsonValue {
    JsonValue::Number(Number::from_f64(value).expect("finite"))
}

fn random_float(rng: &mut Rng) -> f64 {
    match below(rng, 3) {
        0 => pick(rng, &[0.0, -0.0, 1.0, f64::MAX, f64::MIN_POSITIVE, 5e-324]),
        1 => rng.random(),
        _ => Some(f64::from_bits(rng.next_u64()))
            .filter(|float| float.is_finite())
            .unwrap_or(1.5),
    }
}

impl Json for Value {
    fn json(&self) -> JsonValue {
        match self {
            Self::Nil => JsonValue::Null,
            Self::Bool(value) => json!(value),
            Self::Int(value) => json!(value),
            Self::Float(value) => float(*value),
            Self::Str(value) => json!(value),
            Self::Decimal(value) => json!({ "dec": value.to_string() }),
        }
    }
}

impl Random for Value {
    fn random(rng: &mut Rng) -> Self {
        match below(rng, 6) {
            0 => Self::Nil,
            1 => Self::Bool(bool::random(rng)),
            2 => Self::Int(u64::random(rng) as i64),
            3 => Self::Float(random_float(rng)),
            4 => Self::Str(String::random(rng)),
            _ => Self::Decimal(Decimal::random(rng)),
        }
    }
}

impl Json for TelemetryValue {
    fn json(&self) -> JsonValue {
        match self {
            Self::Number(number) => float(*number),
            Self::Tag(tag) => json!(tag),
        }
    }
}

impl Random for TelemetryValue {
    fn random(rng: &mut Rng) -> Self {
        match bool::random(rng) {
            true => Self::Number(random_float(rng)),
            false => Self::Tag(String::random(rng)),
        }
    }
}

macro_rules! newtypes {
    ($($name:ident),*) => { $(
        impl Json for $name {
            fn json(&self) -> JsonValue {
                json!(self.0)
            }
        }
    )* };
}

newtypes!(Step, Epoch, Nanos, EventKindNumber, Quality);

macro_rules! texts {
    ($($name:ident),*) => { $(
        impl Json for $name {
            fn json(&self) -> JsonValue {
                json!(self.as_str())
            }
        }

        impl Random for $name {
            fn random(rng: &mut Rng) -> Self {
                Self::from(String::random(rng))
            }
        }
    )* };
}

texts!(
    BotId,
    StrategyId,
    InstanceId,
    InstrumentId,
    SourceId,
    RunId,
    TraceId,
    Key,
    ReasonCode
);

macro_rules! numbers {
    ($($name:ident),*) => { $(
        impl Random for $name {
            fn random(rng: &mut Rng) -> Self {
                Self(u64::random(rng) as _)
            }
        }
    )* };
}

numbers!(Step, Epoch, Nanos, EventKindNumber, Quality);

macro_rules! byte_arrays {
    ($($name:ident),*) => { $(
        impl Json for $name {
            fn json(&self) -> JsonValue {
                json!(hex(&self.0))
            }
        }

        impl Random for $name {
            fn random(rng: &mut Rng) -> Self {
                Self(std::array::from_fn(|_| rng.next_u64() as u8))
            }
        }
    )* };
}

byte_arrays!(Lineage, Nonce, Digest);

macro_rules! enumerations {
    ($($name:ident { $($variant:ident),* })*) => { $(
        impl Json for $name {
            fn json(&self) -> JsonValue {
                json!(*self as u8)
            }
        }

        impl Random for $name {
            fn random(rng: &mut Rng) -> Self {
                pick(rng, &[$( Self::$variant ),*])
            }
        }
    )* };
}

enumerations! {
    Lane { Ll, Compute }
    RunMode { Live, Replay, Research, Shadow, Smoke }
    Side { Unknown, Buy, Sell }
    OrderType { Market, Limit, Stop, StopLimit }
    TimeInForce { GoodTillCancel, ImmediateOrCancel, FillOrKill, Day }
    Severity { Info, Warning, Critical }
    Status { NotSeen, Staged, Approved, Offered, Committed, Rejected, Expired, Withdrawn }
    Trading { Unknown, Open, Halted, Closed, Auction }
    ExecutionKind { Accepted, Rejected, Filled, Canceled, Amended, Unknown }
    SafetyCommand { Freeze, Unfreeze, CancelAll, HedgeToFlat, Halt }
    TimerOp { Set, Cancel }
    HealthLevel { Healthy, Degraded, Failing }
}
