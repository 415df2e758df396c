//! Digests of answers and intents: SHA-256 over canonical msgpack (PROTOCOL.md section 4).

use sha2::{Digest as _, Sha256};

use crate::answer::Answer;
use crate::codec::{Wire, Writer};
use crate::error::{EncodeError, Within};
use crate::id::{Digest, Key, RunId, TraceId};
use crate::intent::{Intent, IntentMeta};
use crate::limits::{MAX_COMPUTES, MAX_INTENTS, MAX_TAG_BYTES, MAX_TELEMETRY, MAX_TIMERS};

/// The digest of an answer in which nothing but the step is said: by far the most frequent one.
pub const EMPTY_ANSWER_DIGEST: Digest = Digest([
    0xe4, 0xaa, 0xc7, 0x84, 0xf3, 0x26, 0x41, 0xb0, 0x8a, 0xd6, 0xd4, 0x3b, 0x4b, 0x97, 0x1b, 0xb1, 0xc7,
    0x7b, 0x6c, 0xb2, 0x91, 0xe2, 0x49, 0x09, 0xc0, 0x4e, 0x8d, 0xc2, 0x37, 0xb8, 0x82, 0x19,
]);

impl Answer {
    /// Sums everything in an answer that a replay must reproduce: `[intents, state_updates, timers, compute, telemetry,
    /// fault_kind]`, without seq, step, run_id, trace_id and the fault's texts (RS-2).
    pub fn digest(&self) -> Result<Digest, EncodeError> {
        if self.is_empty() {
            return Ok(EMPTY_ANSWER_DIGEST);
        }
        let mut w = Writer::default();
        w.array(6)?;
        self.put_intents(&mut w)
            .map_err(|error| error.within("intents"))?;
        self.state_updates
            .put(&mut w, 0)
            .map_err(|error| error.within("state_updates"))?;
        self.timers
            .put(&mut w, MAX_TIMERS)
            .map_err(|error| error.within("timers"))?;
        self.compute
            .put(&mut w, MAX_COMPUTES)
            .map_err(|error| error.within("compute"))?;
        self.telemetry
            .put(&mut w, MAX_TELEMETRY)
            .map_err(|error| error.within("telemetry"))?;
        let kind = self.fault.as_ref().map_or("", |fault| &fault.kind);
        w.str(kind, MAX_TAG_BYTES)
            .map_err(|error| error.within("fault.kind"))?;
        Ok(sum(w))
    }

    fn put_intents(&self, w: &mut Writer) -> Result<(), EncodeError> {
        Writer::bounded(self.intents.len(), MAX_INTENTS, crate::error::ErrorClass::TooMany)?;
        w.array(self.intents.len())?;
        for (index, intent) in self.intents.iter().enumerate() {
            intent
                .put_as(&without_run(&intent.meta), w)
                .map_err(|error| error.at_index(index))?;
        }
        Ok(())
    }
}

impl Intent {
    /// Sums what an intent asks for: `[kind, meta, body]` without run_id, trace_id and key. Before the gate it is the
    /// request digest, after it the digest that I checks (GT-5): the same key with another digest is a KEY_CONFLICT.
    pub fn digest(&self) -> Result<Digest, EncodeError> {
        let mut w = Writer::default();
        self.put_as(
            &IntentMeta {
                key: Key::default(),
                ..without_run(&self.meta)
            },
            &mut w,
        )?;
        Ok(sum(w))
    }
}

fn without_run(meta: &IntentMeta) -> IntentMeta {
    IntentMeta {
        run_id: RunId::default(),
        trace_id: TraceId::default(),
        ..meta.clone()
    }
}

fn sum(w: Writer) -> Digest {
    Digest(Sha256::digest(w.into_bytes()).into())
}
