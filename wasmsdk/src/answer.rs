//! What the strategy returns for one step, its parts kept apart (DM-3).

use std::collections::BTreeMap;

use rmp::Marker;

use crate::codec::{Fields, Reader, Wire, Writer};
use crate::error::{DecodeError, EncodeError, Within};
use crate::id::{Nanos, Step};
use crate::intent::Intent;
use crate::limits::{
    MAX_ANSWER_BYTES, MAX_BATCH_EVENTS, MAX_COMPUTES, MAX_DELTA_ENTRIES, MAX_INTENTS, MAX_MESSAGE_BYTES,
    MAX_TAG_BYTES, MAX_TELEMETRY, MAX_TIMERS, MAX_TRACEBACK_BYTES,
};
use crate::record::{nested, number_enum, record};

record! {
    /// Asks for a checkpoint and may carry a bounded delta of the supervisor's copy of the state.
    pub struct StateUpdates {
        /// Whether a checkpoint is asked for.
        checkpoint: bool,
        /// Changed values; `None` deletes one.
        delta: Option<BTreeMap<String, Option<Vec<u8>>>> [max MAX_DELTA_ENTRIES],
    }
}

number_enum! {
    /// What to do with a timer.
    pub enum TimerOp as "timer operation", Range {
        /// Set it, replacing one of the same id.
        Set = 1 "set",
        /// Cancel it.
        Cancel = 2 "cancel",
    }
}

record! {
    /// Sets or cancels a timer.
    pub struct TimerRequest {
        /// What to do.
        op: TimerOp,
        /// The strategy's name for it.
        timer_id: String [max MAX_TAG_BYTES],
        /// Processed time at which it is due, ns UTC.
        due_ts: Nanos,
    }
}

record! {
    /// Asks the strategy's compute part for something (LN-2).
    pub struct ComputeRequest {
        /// What is asked for.
        task: String [max MAX_TAG_BYTES],
        /// The question.
        payload: Vec<u8> [max MAX_ANSWER_BYTES],
        /// How long the answer is of use, ns.
        ttl: Nanos,
    }
}

/// The value of a telemetry entry.
#[derive(Clone, Debug, PartialEq)]
pub enum TelemetryValue {
    /// A finite number.
    Number(f64),
    /// A short tag.
    Tag(String),
}

impl Wire for TelemetryValue {
    const LEAST_BYTES: usize = 1;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        match self {
            Self::Number(number) => w.f64(*number),
            Self::Tag(tag) => w.str(tag, MAX_TAG_BYTES),
        }
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        match r.marker()? {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                r.str(MAX_TAG_BYTES).map(|tag| Self::Tag(tag.to_owned()))
            }
            _ => r.f64().map(Self::Number),
        }
    }
}

record! {
    /// A declared name with a number or a short tag; free text is forbidden (DM-3).
    pub struct Telemetry {
        /// The name.
        name: String [max MAX_TAG_BYTES],
        /// The value.
        value: TelemetryValue,
    }
}

record! {
    /// A typed failure inside the strategy; only the kind is part of the answer's digest.
    pub struct Fault {
        /// `exception`, `bad_return`, `config`, `state`, `memory` or `determinism`.
        kind: String [max MAX_TAG_BYTES],
        /// What happened.
        message: String [max MAX_MESSAGE_BYTES],
        /// Where it happened.
        traceback: String [max MAX_TRACEBACK_BYTES],
    }
}

record! {
    /// What the strategy returned for one step, its parts kept apart (DM-3).
    pub struct Answer {
        /// Number of the question.
        seq: u64,
        /// The step.
        step: Step,
        /// Intents, in the order in which they were made.
        intents: Vec<Intent> [max MAX_INTENTS],
        /// A checkpoint request or a delta.
        state_updates: Option<StateUpdates>,
        /// Timers set and canceled.
        timers: Vec<TimerRequest> [max MAX_TIMERS],
        /// Requests to the compute part.
        compute: Vec<ComputeRequest> [max MAX_COMPUTES],
        /// Declared numbers and tags.
        telemetry: Vec<Telemetry> [max MAX_TELEMETRY],
        /// A failure.
        fault: Option<Fault>,
    }
}

impl Answer {
    /// An answer with nothing but the step.
    pub fn empty(seq: u64, step: Step) -> Self {
        Self {
            seq,
            step,
            intents: Vec::new(),
            state_updates: None,
            timers: Vec::new(),
            compute: Vec::new(),
            telemetry: Vec::new(),
            fault: None,
        }
    }

    /// Whether nothing but the step is in the answer.
    pub fn is_empty(&self) -> bool {
        self.intents.is_empty()
            && self.state_updates.is_none()
            && self.timers.is_empty()
            && self.compute.is_empty()
            && self.telemetry.is_empty()
            && self.fault.is_none()
    }
}

/// Ends a batch at the first event with a non-empty answer, or at its last one.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchAnswer {
    /// How many events were taken, at least 1.
    pub consumed: u32,
    /// The answer to the last one taken.
    pub answer: Answer,
}

fn consumed(count: &u32) -> Option<String> {
    let most = MAX_BATCH_EVENTS;
    (*count == 0 || *count as usize > most).then(|| format!("{count}; allowed are 1 to {most}"))
}

/// Writes the fields of a [`BatchAnswer`] whose answer is borrowed.
pub(crate) fn put_batch_answer(count: u32, answer: &Answer, w: &mut Writer) -> Result<(), EncodeError> {
    Writer::checked(consumed(&count)).map_err(|error| error.within("consumed"))?;
    let Answer {
        seq,
        step,
        intents,
        state_updates,
        timers,
        compute,
        telemetry,
        fault,
    } = answer;
    w.uint(*seq);
    w.uint(u64::from(count));
    w.uint(step.0);
    intents
        .put(w, MAX_INTENTS)
        .map_err(|error| error.within("intents"))?;
    state_updates
        .put(w, 0)
        .map_err(|error| error.within("state_updates"))?;
    timers
        .put(w, MAX_TIMERS)
        .map_err(|error| error.within("timers"))?;
    compute
        .put(w, MAX_COMPUTES)
        .map_err(|error| error.within("compute"))?;
    telemetry
        .put(w, MAX_TELEMETRY)
        .map_err(|error| error.within("telemetry"))?;
    fault.put(w, 0).map_err(|error| error.within("fault"))
}

/// On the wire `consumed` stands between the answer's seq and its step.
impl Fields for BatchAnswer {
    const WIDTH: usize = 1 + <Answer as Fields>::WIDTH;
    const LEAST_BYTES: usize = 1 + <Answer as Fields>::LEAST_BYTES;

    fn put_fields(&self, w: &mut Writer) -> Result<(), EncodeError> {
        put_batch_answer(self.consumed, &self.answer, w)
    }

    fn take_fields(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        fn named<T: Wire>(r: &mut Reader<'_>, name: &str, limit: usize) -> Result<T, DecodeError> {
            T::take(r, limit).map_err(|error| error.within(name))
        }
        let seq = named(r, "seq", 0)?;
        let offset = r.offset();
        let count = named(r, "consumed", 0)?;
        Reader::checked(offset, consumed(&count)).map_err(|error| error.within("consumed"))?;
        let answer = Answer {
            seq,
            step: named(r, "step", 0)?,
            intents: named(r, "intents", MAX_INTENTS)?,
            state_updates: named(r, "state_updates", 0)?,
            timers: named(r, "timers", MAX_TIMERS)?,
            compute: named(r, "compute", MAX_COMPUTES)?,
            telemetry: named(r, "telemetry", MAX_TELEMETRY)?,
            fault: named(r, "fault", 0)?,
        };
        Ok(Self {
            consumed: count,
            answer,
        })
    }
}

nested!(StateUpdates, TimerRequest, ComputeRequest, Telemetry, Fault);
