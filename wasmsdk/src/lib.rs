//! Trading strategies in Rust for the msup supervisor, and the contract of msup beneath them.
//!
//! msup runs strategies as supervised, sandboxed, restartable instances. A strategy is a struct with callbacks: see
//! [`Strategy`], and the README for one in five minutes. Everything that crosses a process boundary is one of the messages of
//! this crate, byte for byte the same in Go, Python and Rust; golden vectors hold the three together.
//!
//! # What is here
//!
//! | module | contents |
//! |---|---|
//! | [`mod@strategy`], [`context`], [`request`] | the callbacks, and what they may know and ask for |
//! | [`config`], [`state`], [`health`], [`fault`] | typed configuration and state, judging oneself, failing |
//! | [`testing`] | tests without a supervisor |
//! | [`mod@export`], [`runner`], [`session`], [`describe`](mod@describe) | the module, the native binary, and what both are made of |
//! | [`decimal`], [`number`], [`rng`] | exact decimals, arithmetic on them, seeded random numbers |
//! | [`message`], [`answer`], [`event`], [`market`], [`execution`], [`intent`] | what is said in a runner session |
//! | [`boundary`] | the messages between M and H, I, J/E |
//! | [`frame`], [`id`], [`value`], [`key`], [`digest`], [`limits`], [`error`] | frames, identifiers, keys, limits, refusals |
//!
//! # What is guaranteed
//!
//! - **The same as Python.** The same logic answers the same events with the same intents, byte for byte.
//! - **Half a step is none.** A step that fails leaves a fault and nothing else.
//! - **Canonical bytes.** Encoding writes the shortest form of everything and sorts maps: equal values have equal bytes. What
//!   a reader would have to refuse is refused when it is written.
//! - **Safe decoding.** Whatever the bytes, decoding ends with a value or with a [`DecodeError`](error::DecodeError) that
//!   names class, field and offset. Lengths, counts and nesting are checked before anything is allocated.
//! - **Compatibility.** Fields are only ever appended: unknown trailing fields are skipped, missing ones are refused.
//! - **Exact money.** A [`Decimal`] is never rounded behind the caller's back.
//!
//! # What you may not assume
//!
//! - That an intent is an order: the gate and I decide.
//! - That anything outside the state survives, or that every quote is seen (quotes are conflated under load; executions never are).
//! - That clocks and chance of the standard library are the step's: they are in a module, not in a native binary.
//! - That a decoded message is *meaningful*: an intent without metadata decodes, and the gate discards it.
//! - That decoding keeps bytes: unknown trailing fields and longer forms of integers are gone when a message is written again.
//!
//! # How to test against it
//!
//! Strategies: [`testing`]. Messages are plain values with `PartialEq` and `Debug`:
//!
//! ```
//! use msup::answer::Answer;
//! use msup::frame::{Direction, decode_frame};
//! use msup::id::Step;
//! use msup::message::Message;
//!
//! let answer = Message::from(Answer::empty(7, Step(3)));
//! let frame = answer.encode_frame()?;
//! let (decoded, taken) = decode_frame(&frame, Direction::FromRunner)?.expect("the frame is whole");
//! assert_eq!((decoded, taken), (answer, frame.len()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// The README's code is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod answer;
pub mod boundary;
pub mod config;
pub mod context;
pub mod decimal;
pub mod describe;
pub mod digest;
pub mod error;
pub mod event;
pub mod execution;
pub mod export;
pub mod fault;
pub mod frame;
pub mod health;
pub mod id;
pub mod intent;
pub mod key;
pub mod limits;
pub mod market;
pub mod message;
pub mod number;
pub mod request;
pub mod rng;
#[cfg(unix)]
pub mod runner;
pub mod session;
pub mod state;
pub mod strategy;
pub mod testing;
pub mod value;

mod codec;
mod instrument;
mod json;
mod record;
mod statevalue;
mod text;
mod wide;
mod wire;
mod writer;

pub use answer::{Answer, Fault};
pub use config::{Config, NoConfig};
pub use context::Context;
pub use decimal::Decimal;
pub use event::{
    ComputeResult, ComputeUnavailable, ConfigUpdate, Event, EventKind, EventSkipped, IntentsDiscarded,
    ManualSignal, OpenIntent, Recovered, Shutdown, Timer,
};
pub use execution::{
    Execution, ExecutionKind as ExecutionReport, ExecutionSnapshot, OpenOrder, PositionRow as Position,
    Restriction, RiskEvent, SafetyCommand, SafetyEvent,
};
pub use fault::{Error, Result};
pub use health::{Health, HealthLevel};
pub use id::{Cursor, InstrumentId, Key, Lane, Nanos, Step};
pub use intent::{
    AlertIntent, AmendIntent, CancelIntent, Intent, IntentBody, IntentKind, IntentMeta, NoOpIntent,
    OrderIntent, OrderType, PositionIntent, RiskContext, RiskHint, Severity, Side, Status, TimeInForce,
};
pub use market::{
    Bar, BookDelta, BookSnapshot, Level, Market, Quality, Quote, QuoteBar, Trade, TradeAggregate,
    Trading as TradingState, TradingStatus,
};
pub use message::{Instrument, RunMode};
pub use msup_derive::{Config, State, dec, strategy};
pub use number::Number;
pub use rng::Rng;
pub use state::{NoState, State};
pub use strategy::Strategy;
