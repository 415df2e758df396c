//! The messages of a runner session (PROTOCOL.md section 2), and the sum of all messages.

use crate::answer::{Answer, BatchAnswer};
use crate::boundary::{
    Ack, Approval, ApprovalRequest, BoundaryHello, LastStep, Offer, Query, Refused, Resume, SnapshotRequest,
    SourceEvent, StatusReport, Sync, Tombstone, Welcome,
};
use crate::codec::Reader;
use crate::decimal::Decimal;
use crate::error::DecodeError;
use crate::event::Event;
use crate::id::{Address, Epoch, InstrumentId, Lane, Lineage, Nanos, RunId, Step, TraceId};
use crate::intent::RiskContext;
use crate::limits::{
    MAX_BATCH_EVENTS, MAX_CHUNK_BYTES, MAX_CONFIG_ENTRIES, MAX_HOOKS, MAX_ID_BYTES, MAX_ROWS, MAX_TAG_BYTES,
};
use crate::record::{nested, number_enum, record, tagged};
use crate::value::Values;

/// Version of the runner's binary interface, compared in the handshake.
pub const ABI_VERSION: u32 = 1;
/// Version of the events, compared in the handshake.
pub const EVENT_CONTRACT_VERSION: u32 = 1;
/// Version of the intents, compared in the handshake.
pub const INTENT_CONTRACT_VERSION: u32 = 1;

number_enum! {
    /// The first element of every frame.
    pub enum MessageType as "message type", UnknownType {
        /// Runner → supervisor.
        Hello = 1 "hello",
        /// Supervisor → runner.
        Init = 2 "init",
        /// Runner → supervisor.
        Answer = 3 "answer",
        /// Supervisor → runner.
        Deliver = 4 "deliver",
        /// Supervisor → runner.
        Batch = 5 "batch",
        /// Runner → supervisor.
        BatchAnswer = 6 "batch_answer",
        /// Supervisor → runner.
        CheckpointRequest = 7 "checkpoint_request",
        /// Both ways.
        Chunk = 8 "chunk",
        /// Supervisor → runner.
        Healthcheck = 9 "healthcheck",
        /// Runner → supervisor.
        HealthReport = 10 "health_report",
        /// Supervisor → runner.
        Stop = 11 "stop",
        /// M → I.
        BoundaryHello = 32 "boundary_hello",
        /// I → M.
        Welcome = 33 "welcome",
        /// I → M.
        Refused = 34 "refused",
        /// M → I.
        Offer = 35 "offer",
        /// M → I.
        Query = 36 "query",
        /// I → M.
        Status = 37 "status",
        /// M → I.
        Tombstone = 38 "tombstone",
        /// I → M.
        LastStep = 39 "last_step",
        /// Source → M.
        Event = 40 "event",
        /// M → source, I → M for sync.
        Ack = 41 "ack",
        /// M → source.
        Resume = 42 "resume",
        /// M → I.
        SnapshotRequest = 43 "snapshot_request",
        /// M → J/E.
        ApprovalRequest = 44 "approval_request",
        /// J/E → M.
        Approval = 45 "approval",
        /// M → I.
        Sync = 46 "sync",
    }
}

tagged! {
    /// One message: the contents of a frame.
    pub enum Message: MessageType {
        /// Opens a runner session.
        Hello(Hello) "hello",
        /// Asks for `on_init`.
        Init(Init) "init",
        /// What the strategy returned for one step.
        Answer(Answer) "answer",
        /// One event for the strategy.
        Deliver(Deliver) "deliver",
        /// Several events for the strategy.
        Batch(Batch) "batch",
        /// Ends a batch.
        BatchAnswer(BatchAnswer) "batch_answer",
        /// Asks for the state.
        CheckpointRequest(CheckpointRequest) "checkpoint_request",
        /// A part of the state.
        Chunk(Chunk) "chunk",
        /// Asks for `on_healthcheck`.
        Healthcheck(Healthcheck) "healthcheck",
        /// Answers it.
        HealthReport(HealthReport) "health_report",
        /// Ends the session.
        Stop(Stop) "stop",
        /// Announces an instance and its epoch to I.
        BoundaryHello(BoundaryHello) "boundary_hello",
        /// Takes an instance in.
        Welcome(Welcome) "welcome",
        /// Bars an instance.
        Refused(Refused) "refused",
        /// Hands an intent to I.
        Offer(Offer) "offer",
        /// Asks what I knows of a key.
        Query(Query) "query",
        /// I's word on a key.
        Status(StatusReport) "status",
        /// Turns not_seen into expired.
        Tombstone(Tombstone) "tombstone",
        /// The last step that I has seen.
        LastStep(LastStep) "last_step",
        /// An event for M.
        Event(SourceEvent) "event",
        /// Says what is durable.
        Ack(Ack) "ack",
        /// Asks a source to go on.
        Resume(Resume) "resume",
        /// Asks I for an execution snapshot.
        SnapshotRequest(SnapshotRequest) "snapshot_request",
        /// Asks J/E to approve an intent.
        ApprovalRequest(ApprovalRequest) "approval_request",
        /// The answer of J/E.
        Approval(Approval) "approval",
        /// Asks the simulated I to answer when it is done.
        Sync(Sync) "sync",
    }
}

fn package_hash(hash: &str) -> Option<String> {
    let fits = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!fits).then(|| "not 64 hex characters".to_owned())
}

record! {
    /// Opens a runner session; it must be the first frame.
    pub struct Hello {
        /// 0.
        seq: u64,
        /// [`ABI_VERSION`].
        abi: u32,
        /// `python` or `rust`.
        sdk: String [max MAX_TAG_BYTES],
        /// The SDK's version.
        sdk_version: String [max MAX_TAG_BYTES],
        /// [`EVENT_CONTRACT_VERSION`].
        event_contract: u32,
        /// [`INTENT_CONTRACT_VERSION`].
        intent_contract: u32,
        /// 64 hex characters, from the environment that the supervisor gave.
        package_hash: String [max MAX_TAG_BYTES] [check package_hash],
        /// Optional callbacks that the strategy has: `on_recovered`, `on_config`, `on_healthcheck`, `migrate`.
        hooks: Vec<String> [max MAX_HOOKS],
        /// Version of the state that the strategy writes.
        state_schema_version: u32,
    }
}

number_enum! {
    /// What the events are.
    pub enum RunMode as "run mode", Range {
        /// From the market, for the market.
        Live = 1 "live",
        /// From the ledger.
        Replay = 2 "replay",
        /// From a file, as fast as possible.
        Research = 3 "research",
        /// From the market, for no sink.
        Shadow = 4 "shadow",
        /// A short test.
        Smoke = 5 "smoke",
    }
}

record! {
    /// How an instrument is quantised (GT-1). A zero decimal means: no such limit.
    pub struct Instrument {
        /// Its id.
        id: InstrumentId,
        /// Price step.
        tick: Decimal,
        /// Quantity step.
        lot: Decimal,
        /// Least quantity of an order.
        min_quantity: Decimal,
        /// Largest quantity of an order.
        max_quantity: Decimal,
        /// Least notional of an order, in the quote currency.
        min_notional: Decimal,
        /// What is bought and sold.
        base: String [max MAX_ID_BYTES],
        /// What it is paid in.
        quote: String [max MAX_ID_BYTES],
        /// Where it is traded.
        venue: String [max MAX_ID_BYTES],
    }
}

record! {
    /// The first message to the runner; it asks for `on_init`. Where `state_bytes` is there, chunks with the state follow.
    pub struct Init {
        /// Number of the question.
        seq: u64,
        /// The step that `on_init` is.
        step: Step,
        /// Processed time, ns UTC.
        processed_ts: Nanos,
        /// The trace.
        trace_id: TraceId,
        /// The instance.
        address: Address,
        /// The strategy's version.
        strategy_version: String [max MAX_ID_BYTES],
        /// The instance's identity.
        lineage: Lineage,
        /// The run.
        run_id: RunId,
        /// The start of the instance.
        epoch: Epoch,
        /// The scheduling class.
        lane: Lane,
        /// What the events are.
        mode: RunMode,
        /// Seeds [`Rng`](crate::rng::Rng).
        run_seed: u64,
        /// The configuration, validated.
        config: Values [max MAX_CONFIG_ENTRIES],
        /// The instruments of the instance.
        instruments: Vec<Instrument> [max MAX_ROWS],
        /// The descriptor's default, for intents without one of their own.
        risk_context: Option<RiskContext>,
        /// State and step come from a checkpoint; the answer's effects do not count again.
        restored: bool,
        /// `state_schema_version` of the bytes that follow.
        state_version: u32,
        /// Length of the state that follows in chunks; `None` on the first start.
        state_bytes: Option<u64>,
        /// Largest answer, bytes.
        max_answer_bytes: u64,
        /// Largest state, bytes.
        max_state_bytes: u64,
        /// Most intents of one answer.
        max_intents: u32,
    }
}

record! {
    /// One event for the strategy. It is one step.
    pub struct Deliver {
        /// Number of the question.
        seq: u64,
        /// The step.
        step: Step,
        /// Processed time, ns UTC.
        processed_ts: Nanos,
        /// The trace; empty when the SDK is to make it of run and step.
        trace_id: TraceId,
        /// The event.
        event: Event,
    }
}

record! {
    /// One event of a [`Batch`].
    pub struct BatchEvent {
        /// Processed time, ns UTC.
        processed_ts: Nanos,
        /// The trace.
        trace_id: TraceId,
        /// The event.
        event: Event,
    }
}

record! {
    /// Events of the steps `first_step`, `first_step` + 1, …; research and replay only.
    pub struct Batch {
        /// Number of the question.
        seq: u64,
        /// Step of the first event.
        first_step: Step,
        /// The events.
        events: Vec<BatchEvent> [max MAX_BATCH_EVENTS],
    }
}

record! {
    /// Asks for the state after `step`; the runner answers with chunks, or with an answer that holds a fault.
    pub struct CheckpointRequest {
        /// Number of the question.
        seq: u64,
        /// The step.
        step: Step,
        /// Largest state, bytes.
        max_bytes: u64,
    }
}

record! {
    /// A part of a strategy's state.
    pub struct Chunk {
        /// Number of the question.
        seq: u64,
        /// Bytes before this chunk.
        offset: u64,
        /// Bytes of the whole state.
        total: u64,
        /// `state_schema_version` of the state.
        state_version: u32,
        /// The bytes.
        data: Vec<u8> [max MAX_CHUNK_BYTES],
    }
}

record! {
    /// Asks for `on_healthcheck`. It is no step and must not change state.
    pub struct Healthcheck {
        /// Number of the question.
        seq: u64,
    }
}

number_enum! {
    /// How a strategy finds itself.
    pub enum HealthLevel as "health", Range {
        /// All is well.
        Healthy = 0 "healthy",
        /// It works, with less than it needs.
        Degraded = 1 "degraded",
        /// It does not work.
        Failing = 2 "failing",
    }
}

record! {
    /// Answers a health check.
    pub struct HealthReport {
        /// Number of the question.
        seq: u64,
        /// The health.
        health: HealthLevel,
        /// Why; a short tag.
        tag: String [max MAX_TAG_BYTES],
    }
}

record! {
    /// Ends the session: the runner exits with code 0.
    pub struct Stop {
        /// Number of the question.
        seq: u64,
    }
}

nested!(Instrument, BatchEvent);

impl Message {
    /// Reads a message whose type has been looked at already: an array that is too short for it is refused as such.
    pub(crate) fn take_exactly(r: &mut Reader<'_>, kind: MessageType) -> Result<Self, DecodeError> {
        Self::take_least(r, 1 + Self::width(kind))
    }
}
