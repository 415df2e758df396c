//! The msup contract in Rust.
//!
//! msup runs trading strategies as supervised, sandboxed, restartable instances. Everything that crosses a process boundary
//! is one of the messages of this crate, byte for byte the same in Go, Python and Rust; the golden vectors of the protocol
//! hold the three together.
//!
//! # What is here
//!
//! | module | contents |
//! |---|---|
//! | [`message`], [`answer`] | the runner session: hello, init, deliver, batch, answer, checkpoint, chunk, health, stop |
//! | [`event`], [`market`], [`execution`] | the twenty-one kinds of event |
//! | [`intent`] | the seven kinds of intent, their metadata and statuses |
//! | [`boundary`] | the messages between M and H, I, J/E |
//! | [`frame`] | frames, who may send what, encoding and decoding |
//! | [`decimal`], [`id`], [`value`] | exact decimals, identifiers, configuration values |
//! | [`key`], [`digest`], [`rng`] | idempotency keys, digests, seeded random numbers |
//! | [`limits`], [`error`] | the limits of the wire, and why bytes were refused |
//!
//! # What is guaranteed
//!
//! - **Canonical bytes.** Encoding writes the shortest form of everything and sorts maps: equal values have equal bytes. What
//!   a reader would have to refuse is refused when it is written.
//! - **Safe decoding.** Whatever the bytes, decoding ends with a value or with a [`DecodeError`](error::DecodeError) that
//!   names class, field and offset. Lengths, counts and nesting are checked before anything is allocated.
//! - **Compatibility.** Fields are only ever appended: unknown trailing fields are skipped, missing ones are refused.
//! - **Exact money.** A [`Decimal`](decimal::Decimal) is never rounded behind the caller's back.
//!
//! # What you may not assume
//!
//! - That a decoded message is *meaningful*: an intent without metadata decodes, and the gate discards it.
//! - That decoding keeps bytes: unknown trailing fields and longer forms of integers are gone when a message is written again.
//!
//! # How to test against it
//!
//! Messages are plain values with `PartialEq` and `Debug`:
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

pub mod answer;
pub mod boundary;
pub mod decimal;
pub mod digest;
pub mod error;
pub mod event;
pub mod execution;
pub mod frame;
pub mod id;
pub mod intent;
pub mod key;
pub mod limits;
pub mod market;
pub mod message;
pub mod rng;
pub mod value;

mod codec;
mod record;
mod wire;
mod writer;
