//! The structs and unions of the contract, field by field.

use msup::answer::*;
use msup::boundary::*;
use msup::event::*;
use msup::execution::*;
use msup::id::*;
use msup::intent::*;
use msup::market::*;
use msup::message::*;
use msup::rng::Rng;
use serde_json::{Map, Value as JsonValue, json};

use super::{Each, Json, Random, below, hex, pick};

/// The fields of a struct, with another name in JSON where Rust forbids the name.
macro_rules! forms {
    ($($name:ident { $($field:ident $(as $text:literal)?),* })*) => { $(
        impl Json for $name {
            fn json(&self) -> JsonValue {
                let mut object = Map::new();
                $( self.$field.add_to(&mut object, named!($field $($text)?)); )*
                JsonValue::Object(object)
            }
        }
    )* };
}

macro_rules! objects {
    ($($name:ident { $($field:ident $(as $text:literal)?),* })*) => { $(
        forms!($name { $($field $(as $text)?),* });
        randoms!($name { $($field),* });
    )* };
}

/// Structs that are arrays in JSON too.
macro_rules! rows {
    ($($name:ident { $($field:ident),* })*) => { $(
        impl Json for $name {
            fn json(&self) -> JsonValue {
                json!([$( self.$field.json() ),*])
            }
        }

        randoms!($name { $($field),* });
    )* };
}

macro_rules! named {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $text:literal) => {
        $text
    };
}

macro_rules! randoms {
    ($name:ident { $($field:ident),* }) => {
        impl Random for $name {
            fn random(rng: &mut Rng) -> Self {
                Self { $( $field: Random::random(rng) ),* }
            }
        }
    };
}

rows! {
    Level { price, quantity }
    PositionRow { instrument, quantity }
    OpenOrder { key, remaining }
    OpenIntent { key, status, intent }
    BatchEvent { processed_ts, trace_id, event }
}

impl Json for Market {
    fn json(&self) -> JsonValue {
        let mut object = Map::new();
        self.add_to(&mut object, "");
        JsonValue::Object(object)
    }

    fn add_to(&self, object: &mut Map<String, JsonValue>, _: &str) {
        self.instrument.add_to(object, "instrument");
        self.source.add_to(object, "source");
        self.event_ts.add_to(object, "event_ts");
        self.recv_ts.add_to(object, "recv_ts");
        self.seq.add_to(object, "seq");
        self.venue_seq.add_to(object, "venue_seq");
        self.quality.add_to(object, "quality");
    }
}

randoms!(Market {
    instrument,
    source,
    event_ts,
    recv_ts,
    seq,
    venue_seq,
    quality
});

objects! {
    Address { bot, strategy, instance }
    Cursor { source, source_epoch, seq }
    Quote { market, bid, bid_size, ask, ask_size }
    Trade { market, price, quantity, side, trade_id }
    TradeAggregate {
        market, count, buy_quantity, sell_quantity, first, last, high, low, vwap, first_seq, last_seq
    }
    BookDelta { market, first_seq, last_seq, bids, asks }
    BookSnapshot { market, last_seq, bids, asks }
    Bar { market, period, open, high, low, close, volume }
    QuoteBar {
        market, period, bid_open, bid_high, bid_low, bid_close, bid_size, ask_open, ask_high, ask_low, ask_close,
        ask_size
    }
    TradingStatus { market, status, reason }
    Execution {
        key, report, instrument, event_ts, recv_ts, venue_order_id, side, price, quantity, remaining,
        is_final as "final", reason, throttled, fee, fee_asset
    }
    ExecutionSnapshot { event_ts, recv_ts, positions, open, cursor }
    Restriction { size_factor, limit_only, reduce_only, no_trade }
    RiskEvent { event_ts, recv_ts, restrict_id, release, restriction, reason }
    SafetyEvent { event_ts, recv_ts, command, reason }
    Timer { timer_id, due_ts }
    ManualSignal { event_ts, recv_ts, operator, name, values }
    ComputeResult { task, request_step, ordinal, requested_ts, payload }
    ComputeUnavailable { task, request_step, ordinal, reason }
    ConfigUpdate { config, config_hash, who, why, changed_ts }
    Recovered { positions, open, intents_since_checkpoint }
    EventSkipped { skipped_step, skipped_kind, reason }
    IntentsDiscarded { discarded_step, keys, reason }
    Shutdown { reason }
    RiskContext { max_slippage, max_delay, holding_time, budget }
    IntentMeta {
        bot, strategy, strategy_version, instance, run_id, trace_id, key, risk_context, name, proposal
    }
    CancelIntent { instrument, target_key }
    AmendIntent { instrument, target_key, quantity, limit_price }
    PositionIntent { instrument, target_quantity, limit_price }
    AlertIntent { severity, code, instrument }
    NoOpIntent { reason }
    RiskHint { hint, instrument, value }
    Instrument { id, tick, lot, min_quantity, max_quantity, min_notional, base, quote, venue }
    Init {
        seq, step, processed_ts, trace_id, address, strategy_version, lineage, run_id, epoch, lane, mode, run_seed,
        config, instruments, risk_context, restored, state_version, state_bytes, max_answer_bytes, max_state_bytes,
        max_intents
    }
    StateUpdates { checkpoint, delta }
    TimerRequest { op, timer_id, due_ts }
    ComputeRequest { task, payload, ttl }
    Telemetry { name, value }
    Fault { kind, message, traceback }
    Answer { seq, step, intents, state_updates, timers, compute, telemetry, fault }
    Deliver { seq, step, processed_ts, trace_id, event }
    Batch { seq, first_step, events }
    CheckpointRequest { seq, step, max_bytes }
    Chunk { seq, offset, total, state_version, data }
    Healthcheck { seq }
    HealthReport { seq, health, tag }
    Stop { seq }
    BoundaryHello { seq, address, lineage, epoch, owner_nonce, oldest_open_step }
    Welcome { seq, address, last_step, cursor }
    Refused { seq, address, reason, epoch }
    Offer { seq, address, epoch, step, ordinal, digest, valid_until, intent }
    Query { seq, address, epoch, key }
    StatusReport { seq, address, key, status, digest, reason }
    Tombstone { seq, address, epoch, key }
    LastStep { seq, address, step }
    SourceEvent { seq, address, cursor, recv_ts, trace_id, event }
    Ack { seq, address, cursor }
    Resume { seq, address, cursor }
    SnapshotRequest { seq, address }
    ApprovalRequest { seq, address, epoch, step, ordinal, digest, valid_until, intent }
    Approval { seq, address, key, approved, reason }
    Sync { seq }
}

forms! {
    OrderIntent {
        instrument, side, order_type as "type", quantity, limit_price, stop_price, time_in_force, reduce_only,
        post_only
    }
    Hello {
        seq, abi, sdk, sdk_version, event_contract, intent_contract, package_hash, hooks, state_schema_version
    }
}

impl Random for OrderIntent {
    fn random(rng: &mut Rng) -> Self {
        Self {
            instrument: Random::random(rng),
            side: pick(rng, &[Side::Buy, Side::Sell]),
            order_type: Random::random(rng),
            quantity: Random::random(rng),
            limit_price: Random::random(rng),
            stop_price: Random::random(rng),
            time_in_force: Random::random(rng),
            reduce_only: Random::random(rng),
            post_only: Random::random(rng),
        }
    }
}

impl Random for Hello {
    fn random(rng: &mut Rng) -> Self {
        Self {
            seq: Random::random(rng),
            abi: Random::random(rng),
            sdk: Random::random(rng),
            sdk_version: Random::random(rng),
            event_contract: Random::random(rng),
            intent_contract: Random::random(rng),
            package_hash: hex(&Digest::random(rng).0),
            hooks: Random::random(rng),
            state_schema_version: Random::random(rng),
        }
    }
}

impl Json for BatchAnswer {
    fn json(&self) -> JsonValue {
        let mut object = self.answer.json();
        object["consumed"] = json!(self.consumed);
        object
    }
}

impl Random for BatchAnswer {
    fn random(rng: &mut Rng) -> Self {
        Self {
            consumed: 1 + below(rng, 4096) as u32,
            answer: Answer::random(rng),
        }
    }
}

macro_rules! unions {
    ($($name:ident in $tag:literal { $($variant:ident $text:literal),* })*) => { $(
        impl Json for $name {
            fn json(&self) -> JsonValue {
                let (mut object, text) = match self {
                    $( Self::$variant(body) => (body.json(), $text), )*
                };
                object[$tag] = json!(text);
                object
            }
        }

        impl Random for $name {
            fn random(rng: &mut Rng) -> Self {
                let makers: &[fn(&mut Rng) -> Self] = &[$( |rng| Self::$variant(Random::random(rng)) ),*];
                pick(rng, makers)(rng)
            }
        }

        impl Each for $name {
            fn each(rng: &mut Rng) -> Vec<Self> {
                vec![$( Self::$variant(Random::random(rng)) ),*]
            }
        }
    )* };
}

unions! {
    Event in "kind" {
        Quote "quote", Trade "trade", TradeAggregate "trade_aggregate", BookDelta "book_delta",
        BookSnapshot "book_snapshot", Bar "bar", QuoteBar "quote_bar", TradingStatus "trading_status",
        Execution "execution", ExecutionSnapshot "execution_snapshot", Risk "risk", Safety "safety", Timer "timer",
        ManualSignal "manual_signal", ComputeResult "compute_result", ComputeUnavailable "compute_unavailable",
        ConfigUpdate "config_update", Recovered "recovered", EventSkipped "event_skipped",
        IntentsDiscarded "intents_discarded", Shutdown "shutdown"
    }
    IntentBody in "kind" {
        Order "order", Cancel "cancel", Amend "amend", Position "position", Alert "alert", NoOp "no_op",
        RiskHint "risk_hint"
    }
    Message in "type" {
        Hello "hello", Init "init", Answer "answer", Deliver "deliver", Batch "batch", BatchAnswer "batch_answer",
        CheckpointRequest "checkpoint_request", Chunk "chunk", Healthcheck "healthcheck",
        HealthReport "health_report", Stop "stop", BoundaryHello "boundary_hello", Welcome "welcome",
        Refused "refused", Offer "offer", Query "query", Status "status", Tombstone "tombstone",
        LastStep "last_step", Event "event", Ack "ack", Resume "resume", SnapshotRequest "snapshot_request",
        ApprovalRequest "approval_request", Approval "approval", Sync "sync"
    }
}

impl Json for Intent {
    fn json(&self) -> JsonValue {
        let mut body = self.body.json();
        let kind = body.as_object_mut().expect("an object").remove("kind");
        json!({ "kind": kind, "meta": self.meta.json(), "body": body })
    }
}

impl Random for Intent {
    fn random(rng: &mut Rng) -> Self {
        Self {
            meta: Random::random(rng),
            body: Random::random(rng),
        }
    }
}
