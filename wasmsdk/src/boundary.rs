//! The messages between M and H, I, J/E (PROTOCOL.md section 5).

use crate::event::Event;
use crate::id::{Address, Cursor, Digest, Epoch, Key, Lineage, Nanos, Nonce, ReasonCode, Step, TraceId};
use crate::intent::{Intent, Status};
use crate::record::record;

record! {
    /// Announces an instance and its epoch to I, durable there before the welcome (LS-3).
    pub struct BoundaryHello {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
        /// The instance's identity.
        lineage: Lineage,
        /// The start of the instance.
        epoch: Epoch,
        /// The process that owns the instance.
        owner_nonce: Nonce,
        /// I never forgets keys at or above it.
        oldest_open_step: Step,
    }
}

record! {
    /// Tells the last step that I has seen and its cursor.
    pub struct Welcome {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
        /// The last step seen; 0 for none.
        last_step: Step,
        /// How far I's own events go.
        cursor: Cursor,
    }
}

record! {
    /// Bars an instance: the epoch is lower than one that I knows, or equal with another owner.
    pub struct Refused {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
        /// Why.
        reason: ReasonCode,
        /// The epoch that I knows.
        epoch: Epoch,
    }
}

record! {
    /// Hands an intent to I: at least once, with key, epoch and digest (GT-5).
    pub struct Offer {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
        /// The start of the instance.
        epoch: Epoch,
        /// The step that made the intent.
        step: Step,
        /// Its index in the answer, from 0.
        ordinal: u32,
        /// Its digest.
        digest: Digest,
        /// Wall time, ns UTC, after which I must not act on a first sight.
        valid_until: Nanos,
        /// The intent.
        intent: Intent,
    }
}

record! {
    /// Asks what I knows of a key.
    pub struct Query {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
        /// The start of the instance.
        epoch: Epoch,
        /// The key.
        key: Key,
    }
}

record! {
    /// I's word on a key, in answer to an offer, a query or a tombstone, or unasked.
    pub struct StatusReport {
        /// Number of the question; 0 unasked.
        seq: u64,
        /// The instance.
        address: Address,
        /// The key.
        key: Key,
        /// Its status.
        status: Status,
        /// The intent's digest; `None` when not seen.
        digest: Option<Digest>,
        /// Why.
        reason: ReasonCode,
    }
}

record! {
    /// Durably turns not_seen into expired; a known key keeps its status.
    pub struct Tombstone {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
        /// The start of the instance.
        epoch: Epoch,
        /// The key.
        key: Key,
    }
}

record! {
    /// Reports the last step that I has seen of an instance.
    pub struct LastStep {
        /// Number of the question; 0 unasked.
        seq: u64,
        /// The instance.
        address: Address,
        /// The step.
        step: Step,
    }
}

record! {
    /// Carries an event into M.
    pub struct SourceEvent {
        /// Number of the question; 0 unasked.
        seq: u64,
        /// The instance; `None` for market events.
        address: Option<Address>,
        /// The event's place in its source.
        cursor: Cursor,
        /// Time of reception, ns UTC.
        recv_ts: Nanos,
        /// The trace.
        trace_id: TraceId,
        /// The event.
        event: Event,
    }
}

record! {
    /// Says that everything up to the cursor is durable; in answer to a sync it carries the seq alone.
    pub struct Ack {
        /// Number of the question.
        seq: u64,
        /// The instance; `None` for market events.
        address: Option<Address>,
        /// Everything up to here.
        cursor: Cursor,
    }
}

record! {
    /// Asks a source to go on after the cursor.
    pub struct Resume {
        /// Number of the question.
        seq: u64,
        /// The instance; `None` for market events.
        address: Option<Address>,
        /// Everything up to here is known.
        cursor: Cursor,
    }
}

record! {
    /// Asks I for an execution snapshot.
    pub struct SnapshotRequest {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
    }
}

record! {
    /// Asks J/E to approve a staged intent (GT-7).
    pub struct ApprovalRequest {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
        /// The start of the instance.
        epoch: Epoch,
        /// The step that made the intent.
        step: Step,
        /// Its index in the answer, from 0.
        ordinal: u32,
        /// Its digest.
        digest: Digest,
        /// Wall time, ns UTC, after which the answer is of no use.
        valid_until: Nanos,
        /// The intent.
        intent: Intent,
    }
}

record! {
    /// The answer of J/E.
    pub struct Approval {
        /// Number of the question.
        seq: u64,
        /// The instance.
        address: Address,
        /// The intent's key.
        key: Key,
        /// Whether it may be offered.
        approved: bool,
        /// Why.
        reason: ReasonCode,
    }
}

record! {
    /// Asks the simulated I to answer with an ack when everything sent before is worked off.
    pub struct Sync {
        /// Number of the question.
        seq: u64,
    }
}
