//! The events that a strategy is given (EV-1), and their fields in the order of the wire (PROTOCOL.md section 3).

use crate::execution::{Execution, ExecutionSnapshot, PositionRow, RiskEvent, SafetyEvent};
use crate::id::{Digest, Key, Nanos, ReasonCode, Step};
use crate::intent::{Intent, Status};
use crate::limits::{MAX_CONFIG_ENTRIES, MAX_ID_BYTES, MAX_ROWS, MAX_TAG_BYTES, MAX_TEXT_BYTES};
use crate::market::{
    Bar, BookDelta, BookSnapshot, Market, Quote, QuoteBar, Trade, TradeAggregate, TradingStatus,
};
use crate::record::{byte, nested, number_enum, record, tagged};
use crate::value::Values;

number_enum! {
    /// The first element of every encoded event. 1–15 market (H), 16–23 execution (I), 24–31 risk and safety (J, E), from
    /// 32 on made by M.
    pub enum EventKind as "event kind", UnknownType {
        /// See [`Quote`].
        Quote = 1 "quote",
        /// See [`Trade`].
        Trade = 2 "trade",
        /// See [`TradeAggregate`].
        TradeAggregate = 3 "trade_aggregate",
        /// See [`BookDelta`].
        BookDelta = 4 "book_delta",
        /// See [`BookSnapshot`].
        BookSnapshot = 5 "book_snapshot",
        /// See [`Bar`].
        Bar = 6 "bar",
        /// See [`QuoteBar`].
        QuoteBar = 7 "quote_bar",
        /// See [`TradingStatus`].
        TradingStatus = 8 "trading_status",
        /// See [`Execution`].
        Execution = 16 "execution",
        /// See [`ExecutionSnapshot`].
        ExecutionSnapshot = 17 "execution_snapshot",
        /// See [`RiskEvent`].
        Risk = 24 "risk",
        /// See [`SafetyEvent`].
        Safety = 25 "safety",
        /// See [`Timer`].
        Timer = 32 "timer",
        /// See [`ManualSignal`].
        ManualSignal = 33 "manual_signal",
        /// See [`ComputeResult`].
        ComputeResult = 34 "compute_result",
        /// See [`ComputeUnavailable`].
        ComputeUnavailable = 35 "compute_unavailable",
        /// See [`ConfigUpdate`].
        ConfigUpdate = 36 "config_update",
        /// See [`Recovered`].
        Recovered = 37 "recovered",
        /// See [`EventSkipped`].
        EventSkipped = 38 "event_skipped",
        /// See [`IntentsDiscarded`].
        IntentsDiscarded = 39 "intents_discarded",
        /// See [`Shutdown`].
        Shutdown = 40 "shutdown",
    }
}

tagged! {
    /// One event: `[kind, …]` within the message that carries it.
    pub enum Event: EventKind {
        /// The best bid and ask.
        Quote(Quote) "quote",
        /// One public trade.
        Trade(Trade) "trade",
        /// What conflation makes of several trades.
        TradeAggregate(TradeAggregate) "trade_aggregate",
        /// Changed levels of a book.
        BookDelta(BookDelta) "book_delta",
        /// A whole book.
        BookSnapshot(BookSnapshot) "book_snapshot",
        /// A finished trade bar.
        Bar(Bar) "bar",
        /// A finished bar of bid and ask.
        QuoteBar(QuoteBar) "quote_bar",
        /// A halt, a close, a reopening.
        TradingStatus(TradingStatus) "trading_status",
        /// I's report on an order.
        Execution(Execution) "execution",
        /// I's word on positions and open orders.
        ExecutionSnapshot(ExecutionSnapshot) "execution_snapshot",
        /// A restriction imposed or released by J.
        Risk(RiskEvent) "risk",
        /// A command of E.
        Safety(SafetyEvent) "safety",
        /// A timer is due.
        Timer(Timer) "timer",
        /// An operator's message.
        ManualSignal(ManualSignal) "manual_signal",
        /// The answer of the compute part.
        ComputeResult(ComputeResult) "compute_result",
        /// A compute request will not be answered.
        ComputeUnavailable(ComputeUnavailable) "compute_unavailable",
        /// A new configuration.
        ConfigUpdate(ConfigUpdate) "config_update",
        /// The instance is back without a replay.
        Recovered(Recovered) "recovered",
        /// An earlier delivery is given up.
        EventSkipped(EventSkipped) "event_skipped",
        /// Earlier intents were never sent.
        IntentsDiscarded(IntentsDiscarded) "intents_discarded",
        /// The last delivery before an orderly stop.
        Shutdown(Shutdown) "shutdown",
    }
}

impl Event {
    /// The shared header, of market events only.
    pub fn market(&self) -> Option<&Market> {
        match self {
            Self::Quote(event) => Some(&event.market),
            Self::Trade(event) => Some(&event.market),
            Self::TradeAggregate(event) => Some(&event.market),
            Self::BookDelta(event) => Some(&event.market),
            Self::BookSnapshot(event) => Some(&event.market),
            Self::Bar(event) => Some(&event.market),
            Self::QuoteBar(event) => Some(&event.market),
            Self::TradingStatus(event) => Some(&event.market),
            _ => None,
        }
    }
}

/// The number of an event's kind as it stands on the wire, which may be of a later version of the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventKindNumber(pub u8);

byte!(EventKindNumber);

record! {
    /// Tells that a timer set by the strategy is due.
    pub struct Timer {
        /// The strategy's name for it.
        timer_id: String [max MAX_TAG_BYTES],
        /// Processed time for which it was set, ns UTC.
        due_ts: Nanos,
    }
}

record! {
    /// An operator's message to the strategy.
    pub struct ManualSignal {
        /// The operator's time, ns UTC.
        event_ts: Nanos,
        /// Time of reception, ns UTC.
        recv_ts: Nanos,
        /// Who sent it.
        operator: String [max MAX_ID_BYTES],
        /// What it is.
        name: String [max MAX_TAG_BYTES],
        /// Its contents.
        values: Values [max MAX_CONFIG_ENTRIES],
    }
}

record! {
    /// The answer of the strategy's compute part (LN-2).
    pub struct ComputeResult {
        /// The task asked for.
        task: String [max MAX_TAG_BYTES],
        /// The step that asked.
        request_step: Step,
        /// Index among that step's requests, from 0.
        ordinal: u32,
        /// Processed time of the request, ns UTC.
        requested_ts: Nanos,
        /// The result.
        payload: Vec<u8>,
    }
}

record! {
    /// Says that a compute request will not be answered (LN-5).
    pub struct ComputeUnavailable {
        /// The task asked for.
        task: String [max MAX_TAG_BYTES],
        /// The step that asked.
        request_step: Step,
        /// Index among that step's requests, from 0.
        ordinal: u32,
        /// Why.
        reason: ReasonCode,
    }
}

record! {
    /// The whole new configuration, already validated (HR-1), and who changed it (HR-3).
    pub struct ConfigUpdate {
        /// The configuration.
        config: Values [max MAX_CONFIG_ENTRIES],
        /// Its hash.
        config_hash: Digest,
        /// Who changed it.
        who: String [max MAX_ID_BYTES],
        /// Why.
        why: String [max MAX_TEXT_BYTES],
        /// When, ns UTC.
        changed_ts: Nanos,
    }
}

record! {
    /// An intent that is not terminal.
    pub struct OpenIntent {
        /// Its key.
        key: Key,
        /// Its status.
        status: Status,
        /// The intent.
        intent: Intent,
    }
}

record! {
    /// Delivered to strategies that cannot replay (recovery = "inform").
    pub struct Recovered {
        /// All positions.
        positions: Vec<PositionRow> [max MAX_ROWS],
        /// Intents that are not terminal.
        open: Vec<OpenIntent> [max MAX_ROWS],
        /// Intents since the checkpoint.
        intents_since_checkpoint: Vec<OpenIntent> [max MAX_ROWS],
    }
}

record! {
    /// Tells that an earlier delivery killed the runner and was not delivered again.
    pub struct EventSkipped {
        /// The delivery's step.
        skipped_step: Step,
        /// Its event's kind.
        skipped_kind: EventKindNumber,
        /// Why.
        reason: ReasonCode,
    }
}

record! {
    /// Tells that the intents of an earlier answer were never sent.
    pub struct IntentsDiscarded {
        /// The answer's step.
        discarded_step: Step,
        /// The intents' keys.
        keys: Vec<Key> [max MAX_ROWS],
        /// Why.
        reason: ReasonCode,
    }
}

record! {
    /// The last delivery before an orderly stop.
    pub struct Shutdown {
        /// Why.
        reason: ReasonCode,
    }
}

nested!(OpenIntent);
