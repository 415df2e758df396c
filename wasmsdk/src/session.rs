//! One strategy instance inside its runner: frames in, frames out, no socket. The module, the native binary and the test
//! harness share it.

use crate::answer::{Answer, put_batch_answer};
use crate::codec::{Fields, Reader, Wire, Writer};
use crate::config::Config;
use crate::context::Context;
use crate::error::{EncodeError, Within};
use crate::event::{ConfigUpdate, Event};
use crate::fault::{Error, FaultKind, ProtocolError, Result, guarded};
use crate::frame::{Direction, PREFIX_BYTES, peek_type};
use crate::health::{Health, HealthLevel};
use crate::id::{Nanos, Step, TraceId};
use crate::limits::{MAX_ANSWER_BYTES, MAX_BATCH_EVENTS, MAX_CHUNK_BYTES, MAX_STATE_BYTES, MAX_TAG_BYTES};
use crate::message::{
    ABI_VERSION, BatchEvent, CheckpointRequest, Chunk, Deliver, EVENT_CONTRACT_VERSION, HealthReport,
    Healthcheck, Hello, INTENT_CONTRACT_VERSION, Init, MessageType, Stop,
};
use crate::state::State;
use crate::strategy::{Strategy, has_hook};

/// What the handshake calls this SDK.
pub const SDK_NAME: &str = "rust";

/// The SDK's version, sent in the handshake.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read the next frame.
    Continue,
    /// The supervisor has said Stop.
    Stop,
}

/// An init whose state is still on its way.
#[derive(Debug)]
struct Pending {
    init: Box<Init>,
    total: usize,
    state: Vec<u8>,
}

/// Dispatches to one strategy and keeps its context. Nothing in it is the strategy's business.
#[derive(Debug)]
pub struct Session<S: Strategy> {
    ctx: Context,
    strategy: Option<S>,
    started: bool,
    pending: Option<Pending>,
    max_answer_bytes: usize,
    max_state_bytes: usize,
}

impl<S: Strategy> Default for Session<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Strategy> Session<S> {
    /// A session before its handshake.
    pub fn new() -> Self {
        Self {
            ctx: Context::new(),
            strategy: None,
            started: false,
            pending: None,
            max_answer_bytes: MAX_ANSWER_BYTES,
            max_state_bytes: MAX_STATE_BYTES,
        }
    }

    /// The strategy; `None` before `on_init` has succeeded.
    pub fn strategy(&self) -> Option<&S> {
        self.strategy.as_ref()
    }

    /// Appends the first frame. `package_hash` is what the environment says: 64 hex characters.
    pub fn hello(&self, package_hash: &str, out: &mut Vec<u8>) -> std::result::Result<(), ProtocolError> {
        let hello = Hello {
            seq: 0,
            abi: ABI_VERSION,
            sdk: SDK_NAME.to_owned(),
            sdk_version: SDK_VERSION.to_owned(),
            event_contract: EVENT_CONTRACT_VERSION,
            intent_contract: INTENT_CONTRACT_VERSION,
            package_hash: package_hash.to_owned(),
            hooks: S::HOOKS.iter().map(ToString::to_string).collect(),
            state_schema_version: S::State::VERSION,
        };
        put_record(out, MessageType::Hello, &hello)
            .map_err(|error| ProtocolError::new(format!("the handshake cannot be written: {error}")))
    }

    /// Handles one frame without its length prefix and appends the frames that answer it: none, one, or all chunks of a
    /// state. An error ends the session.
    pub fn handle(&mut self, payload: &[u8], out: &mut Vec<u8>) -> std::result::Result<Flow, ProtocolError> {
        let kind = peek_type(payload)?;
        Direction::FromSupervisor.check(kind, payload.len())?;
        if self.pending.is_some() && kind != MessageType::Chunk {
            return Err(ProtocolError::new(format!(
                "a {kind} among the chunks of the state"
            )));
        }
        match kind {
            MessageType::Deliver => self.deliver(body(payload, kind)?, out)?,
            MessageType::Batch => self.batch(payload, out)?,
            MessageType::Healthcheck => {
                let question: Healthcheck = body(payload, kind)?;
                let health = self.health();
                let report = HealthReport {
                    seq: question.seq,
                    health: health.level,
                    tag: health.tag,
                };
                put_record(out, MessageType::HealthReport, &report).map_err(cannot_write)?;
            }
            MessageType::CheckpointRequest => self.checkpoint(&body(payload, kind)?, out)?,
            MessageType::Init => self.init(body(payload, kind)?, out)?,
            MessageType::Chunk => self.take_chunk(&body(payload, kind)?, out)?,
            MessageType::Stop => {
                let _: Stop = body(payload, kind)?;
                return Ok(Flow::Stop);
            }
            other => return Err(ProtocolError::new(format!("a {other} from a supervisor"))),
        }
        Ok(Flow::Continue)
    }

    // --- steps ---

    fn deliver(&mut self, deliver: Deliver, out: &mut Vec<u8>) -> std::result::Result<(), ProtocolError> {
        let Deliver {
            seq,
            step,
            processed_ts,
            trace_id,
            event,
        } = deliver;
        let error = self.run(step, processed_ts, trace_id, &event).err();
        self.answer(seq, step, None, error, out)
    }

    /// Events one by one, as they are decoded, up to the first whose answer is not empty: those behind it come again in the
    /// next batch, so they are not looked at now.
    fn batch(&mut self, payload: &[u8], out: &mut Vec<u8>) -> std::result::Result<(), ProtocolError> {
        const FIELDS: usize = 4;
        let mut r = Reader::new(payload);
        let found = r.open_array()?;
        Reader::need(0, FIELDS, found)?;
        MessageType::take(&mut r, 0)?;
        let seq = u64::take(&mut r, 0).map_err(|error| error.within("batch.seq"))?;
        let first = Step::take(&mut r, 0).map_err(|error| error.within("batch.first_step"))?;
        let count = r
            .open_list(<BatchEvent as Wire>::LEAST_BYTES, MAX_BATCH_EVENTS)
            .map_err(|error| error.within("batch.events"))?;
        if count == 0 {
            return Err(ProtocolError::new("a batch without events"));
        }
        let mut consumed = 0;
        let mut step = first;
        for index in 0..count {
            let item =
                BatchEvent::take(&mut r, 0).map_err(|error| error.at_index(index).within("batch.events"))?;
            step = Step(first.0.wrapping_add(index as u64));
            consumed = index as u32 + 1; // at most MAX_BATCH_EVENTS
            let error = self
                .run(step, item.processed_ts, item.trace_id, &item.event)
                .err();
            if error.is_some() || !self.ctx.answer.is_empty() {
                return self.answer(seq, step, Some(consumed), error, out);
            }
        }
        r.close();
        r.skip_all(found - FIELDS)?;
        r.close();
        r.finish()?;
        self.answer(seq, step, Some(consumed), None, out)
    }

    fn run(&mut self, step: Step, now: Nanos, trace_id: TraceId, event: &Event) -> Result {
        let ctx = &mut self.ctx;
        ctx.begin(step, now, trace_id);
        let Some(strategy) = &mut self.strategy else {
            return Err(Error::new(format!(
                "a {} before on_init has succeeded",
                event.kind()
            )));
        };
        guarded(|| match event {
            Event::Timer(timer) => strategy.on_timer(ctx, &timer.timer_id, timer.due_ts),
            Event::Shutdown(shutdown) => strategy.on_shutdown(ctx, shutdown.reason.as_str()),
            Event::ConfigUpdate(update) => update_config(strategy, ctx, update),
            Event::Recovered(known) if has_hook::<S>("on_recovered") => strategy.on_recovered(
                ctx,
                &known.positions,
                &known.open,
                &known.intents_since_checkpoint,
            ),
            event => strategy.on_event(ctx, event),
        })
    }

    // --- init ---

    fn init(&mut self, init: Init, out: &mut Vec<u8>) -> std::result::Result<(), ProtocolError> {
        if self.started {
            return Err(ProtocolError::new("a second init in one session"));
        }
        if init.step.0 == 0 {
            return Err(ProtocolError::new("an init of step 0; steps count from 1"));
        }
        match init.state_bytes {
            None => self.start(&init, None, out),
            Some(total) => {
                let total = usize::try_from(total)
                    .ok()
                    .filter(|&total| total <= MAX_STATE_BYTES)
                    .ok_or_else(|| {
                        ProtocolError::new(format!(
                            "a state of {total} bytes; at most {MAX_STATE_BYTES} are allowed"
                        ))
                    })?;
                self.pending = Some(Pending {
                    init: Box::new(init),
                    total,
                    state: Vec::new(),
                });
                Ok(())
            }
        }
    }

    fn take_chunk(&mut self, chunk: &Chunk, out: &mut Vec<u8>) -> std::result::Result<(), ProtocolError> {
        let Some(pending) = &mut self.pending else {
            return Err(ProtocolError::new("a chunk that was not announced by an init"));
        };
        let have = pending.state.len();
        let total = pending.total as u64;
        let found = (chunk.seq, chunk.offset, chunk.total, chunk.state_version);
        let expected = (pending.init.seq, have as u64, total, pending.init.state_version);
        if found != expected {
            return Err(ProtocolError::new(format!(
                "a chunk with (seq, offset, total, state_version) {found:?}; expected {expected:?}"
            )));
        }
        let size = chunk.data.len();
        if have + size > pending.total || (size == 0 && pending.total > 0) {
            return Err(ProtocolError::new(format!(
                "a chunk of {size} bytes at offset {have} of {total}"
            )));
        }
        pending.state.extend_from_slice(&chunk.data);
        if pending.state.len() < pending.total {
            return Ok(());
        }
        match self.pending.take() {
            Some(pending) => self.start(&pending.init, Some(&pending.state), out),
            None => Ok(()),
        }
    }

    fn start(
        &mut self,
        init: &Init,
        state: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), ProtocolError> {
        self.started = true;
        self.max_answer_bytes = limit(init.max_answer_bytes, MAX_ANSWER_BYTES);
        self.max_state_bytes = limit(init.max_state_bytes, MAX_STATE_BYTES);
        let ctx = &mut self.ctx;
        ctx.begin(init.step, init.processed_ts, init.trace_id.clone());
        let made = guarded(|| {
            let config = S::Config::from_values(&init.config)?;
            ctx.fill(init, S::risk_context());
            let restored = state
                .map(|state| restore::<S>(init.state_version, state))
                .transpose()?;
            S::on_init(ctx, config, restored)
        });
        let error = match made {
            Ok(strategy) => {
                self.strategy = Some(strategy);
                None
            }
            Err(error) => Some(error),
        };
        self.answer(init.seq, init.step, None, error, out)
    }

    // --- questions that are no steps ---

    fn checkpoint(
        &mut self,
        question: &CheckpointRequest,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), ProtocolError> {
        match self.checkpoint_frames(question, out) {
            Ok(()) => Ok(()),
            Err(error) => self.answer(question.seq, question.step, None, Some(error), out),
        }
    }

    /// Appends the chunks of the state; an error is a fault of kind `state`.
    pub(crate) fn checkpoint_frames(&self, question: &CheckpointRequest, out: &mut Vec<u8>) -> Result {
        let most = limit(question.max_bytes, self.max_state_bytes).min(self.max_state_bytes);
        let state = self.save(most).map_err(|error| match error.kind() {
            FaultKind::Memory => error,
            _ => error.with_kind(FaultKind::State),
        })?;
        put_chunks(out, question.seq, S::State::VERSION, &state).map_err(Error::state)
    }

    fn save(&self, most: usize) -> Result<Vec<u8>> {
        let Some(strategy) = &self.strategy else {
            return Err(Error::state("on_init has not succeeded, so there is no state"));
        };
        let mut state = Vec::new();
        guarded(|| strategy.state().save_state(&mut state))?;
        if state.len() > most {
            return Err(Error::state(format!(
                "the state has {} bytes; at most {most} are allowed: keep less or raise the limit",
                state.len()
            )));
        }
        Ok(state)
    }

    /// What the strategy thinks of itself; an error is `failing`.
    fn health(&self) -> Health {
        let Some(strategy) = &self.strategy else {
            return Health::degraded("not_initialised");
        };
        let judged = guarded(|| strategy.on_healthcheck(&self.ctx)).and_then(|health| {
            if health.tag.len() > MAX_TAG_BYTES {
                return Err(Error::new(format!(
                    "the health tag has {} bytes; at most {MAX_TAG_BYTES} are allowed",
                    health.tag.len()
                )));
            }
            Ok(health)
        });
        judged.unwrap_or_else(|error| {
            error.into_fault(); // for the log
            Health {
                level: HealthLevel::Failing,
                tag: "healthcheck_failed".to_owned(),
            }
        })
    }

    // --- answers ---

    /// Appends the answer to a step and clears its effects. With an error there are none: half a step is none. An answer that
    /// cannot be written or is too long becomes a fault.
    fn answer(
        &mut self,
        seq: u64,
        step: Step,
        consumed: Option<u32>,
        error: Option<Error>,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), ProtocolError> {
        let answer = &mut self.ctx.answer;
        (answer.seq, answer.step) = (seq, step);
        if let Some(error) = error {
            clear(answer);
            answer.fault = Some(error.into_fault());
        }
        let start = out.len();
        let most = self.max_answer_bytes;
        let cause = match put_answer(out, answer, consumed) {
            Ok(()) if out.len() - start - PREFIX_BYTES <= most => {
                clear(answer);
                return Ok(());
            }
            Ok(()) => format!(
                "the answer has {} bytes; at most {most} are allowed: make fewer or smaller effects",
                out.len() - start - PREFIX_BYTES
            ),
            Err(error) => format!("the answer cannot be written: {error}"),
        };
        out.truncate(start);
        clear(answer);
        answer.fault = Some(Error::of(FaultKind::BadReturn, cause).into_fault());
        let written = put_answer(out, answer, consumed).map_err(cannot_write);
        clear(answer);
        written
    }
}

fn update_config<S: Strategy>(strategy: &mut S, ctx: &mut Context, update: &ConfigUpdate) -> Result {
    let config = S::Config::from_values(&update.config)?;
    strategy.set_config(config.clone());
    strategy.on_config(ctx, &config)
}

fn restore<S: Strategy>(version: u32, state: &[u8]) -> Result<S::State> {
    let current = S::State::VERSION;
    if version > current {
        return Err(Error::state(format!(
            "the stored state has schema version {version}, this strategy knows {current}; run the newer one"
        )));
    }
    if version == current {
        return S::State::load_state(state);
    }
    if !has_hook::<S>("migrate") {
        return Err(Error::state(format!(
            "the stored state has schema version {version}, this strategy {current}, and there is no migrate()"
        )));
    }
    S::migrate(version, state)
}

/// Reads a message whose kind is known: a module then holds the decoders of no other.
fn body<T: Fields>(payload: &[u8], kind: MessageType) -> std::result::Result<T, ProtocolError> {
    let mut r = Reader::new(payload);
    let body = r
        .array(1 + T::WIDTH, |r, _| {
            MessageType::take(r, 0)?;
            Ok((T::take_fields(r)?, 1 + T::WIDTH))
        })
        .map_err(|error| error.within(kind.as_str()))?;
    r.finish()?;
    Ok(body)
}

/// Empties an answer but keeps its memory.
fn clear(answer: &mut Answer) {
    answer.intents.clear();
    answer.state_updates = None;
    answer.timers.clear();
    answer.compute.clear();
    answer.telemetry.clear();
    answer.fault = None;
}

/// A limit of the supervisor, 0 for none, never above the contract's.
fn limit(asked: u64, most: usize) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => most,
        Ok(asked) => asked.min(most),
    }
}

fn cannot_write(error: EncodeError) -> ProtocolError {
    ProtocolError::new(format!("the answer cannot be written: {error}"))
}

/// Appends a frame of the array that `body` writes.
fn put_frame(
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Writer) -> std::result::Result<(), EncodeError>,
) -> std::result::Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    let mut w = Writer::with_bytes(std::mem::take(out));
    let written = body(&mut w);
    *out = w.into_bytes();
    written?;
    // A chunk is the longest frame of all.
    let len = (out.len() - start - PREFIX_BYTES) as u32;
    out[start..start + PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
    Ok(())
}

fn put_record<T: Fields>(
    out: &mut Vec<u8>,
    kind: MessageType,
    body: &T,
) -> std::result::Result<(), EncodeError> {
    put_frame(out, |w| {
        w.array(1 + T::WIDTH)?;
        kind.put(w, 0)?;
        body.put_fields(w).map_err(|error| error.within(kind.as_str()))
    })
}

fn put_answer(
    out: &mut Vec<u8>,
    answer: &Answer,
    consumed: Option<u32>,
) -> std::result::Result<(), EncodeError> {
    match consumed {
        None => put_record(out, MessageType::Answer, answer),
        Some(consumed) => put_frame(out, |w| {
            w.array(2 + Answer::WIDTH)?;
            MessageType::BatchAnswer.put(w, 0)?;
            put_batch_answer(consumed, answer, w).map_err(|error| error.within("batch_answer"))
        }),
    }
}

/// Cuts a state into chunks; a state of zero bytes is one chunk with total 0.
fn put_chunks(
    out: &mut Vec<u8>,
    seq: u64,
    state_version: u32,
    state: &[u8],
) -> std::result::Result<(), EncodeError> {
    let mut offset = 0;
    loop {
        let data = &state[offset..state.len().min(offset + MAX_CHUNK_BYTES)];
        put_frame(out, |w| {
            w.array(1 + Chunk::WIDTH)?;
            MessageType::Chunk.put(w, 0)?;
            w.uint(seq);
            w.uint(offset as u64);
            w.uint(state.len() as u64);
            w.uint(state_version.into());
            w.bin(data, MAX_CHUNK_BYTES)
        })?;
        offset += data.len();
        if offset >= state.len() {
            return Ok(());
        }
    }
}
