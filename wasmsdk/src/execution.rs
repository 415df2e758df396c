//! The events of execution (I), risk (J) and safety (E).

use crate::decimal::Decimal;
use crate::id::{Cursor, InstrumentId, Key, Nanos, ReasonCode};
use crate::intent::Side;
use crate::limits::{MAX_ID_BYTES, MAX_ROWS, MAX_TAG_BYTES};
use crate::record::{nested, number_enum, record};

number_enum! {
    /// What I reports of an order. Unknown is a state, never a failure.
    pub enum ExecutionKind as "execution report", Range {
        /// The venue has the order.
        Accepted = 1 "accepted",
        /// The venue refused the order.
        Rejected = 2 "rejected",
        /// A fill, partly or wholly: see `is_final` and `remaining`.
        Filled = 3 "filled",
        /// The order is gone.
        Canceled = 4 "canceled",
        /// The order was changed.
        Amended = 5 "amended",
        /// I does not know what became of the order.
        Unknown = 6 "unknown",
    }
}

record! {
    /// One report by I on the order of one intent (BP-2: never dropped, in order).
    pub struct Execution {
        /// The intent's key.
        key: Key,
        /// What happened.
        report: ExecutionKind,
        /// What is traded.
        instrument: InstrumentId,
        /// The venue's time, ns UTC; 0 for none.
        event_ts: Nanos,
        /// I's time of reception, ns UTC.
        recv_ts: Nanos,
        /// The venue's id of the order; empty for none.
        venue_order_id: String [max MAX_ID_BYTES],
        /// Side of the order.
        side: Side,
        /// Price of this fill.
        price: Option<Decimal>,
        /// Quantity of this fill.
        quantity: Option<Decimal>,
        /// Open quantity after this report; `None` when not known.
        remaining: Option<Decimal>,
        /// Nothing more will happen to this order (`final` on the page; a reserved word in Rust).
        is_final: bool,
        /// Reason of a rejection or cancel.
        reason: String [max MAX_TAG_BYTES],
        /// A 429 or its like (CB-1).
        throttled: bool,
        /// The venue's fee.
        fee: Option<Decimal>,
        /// What the fee is paid in.
        fee_asset: String [max MAX_TAG_BYTES],
    }
}

record! {
    /// A signed position: above zero long.
    pub struct PositionRow {
        /// What is held.
        instrument: InstrumentId,
        /// How much.
        quantity: Decimal,
    }
}

record! {
    /// An order that can still be filled.
    pub struct OpenOrder {
        /// The intent's key.
        key: Key,
        /// The open quantity.
        remaining: Decimal,
    }
}

record! {
    /// The only way out of unknown positions (BC-I).
    pub struct ExecutionSnapshot {
        /// The venue's time, ns UTC.
        event_ts: Nanos,
        /// I's time of reception, ns UTC.
        recv_ts: Nanos,
        /// All positions.
        positions: Vec<PositionRow> [max MAX_ROWS],
        /// All open orders.
        open: Vec<OpenOrder> [max MAX_ROWS],
        /// Reports at or below it are contained.
        cursor: Cursor,
    }
}

record! {
    /// A reason to trade less; restrictions are joined, so that more of them only ever mean less trading.
    pub struct Restriction {
        /// 0 to 1; scales only the part of an order that increases risk; 1 is no limit.
        size_factor: Decimal,
        /// Only limit orders.
        limit_only: bool,
        /// Only orders that reduce risk.
        reduce_only: bool,
        /// No orders.
        no_trade: bool,
    }
}

record! {
    /// Imposes or releases a restriction on behalf of J (BP-3).
    pub struct RiskEvent {
        /// J's time, ns UTC.
        event_ts: Nanos,
        /// Time of reception, ns UTC.
        recv_ts: Nanos,
        /// Names the restriction, so that it can be replaced and released.
        restrict_id: String [max MAX_ID_BYTES],
        /// Whether it is released.
        release: bool,
        /// The restriction.
        restriction: Restriction,
        /// Why.
        reason: ReasonCode,
    }
}

number_enum! {
    /// An order of E.
    pub enum SafetyCommand as "safety command", Range {
        /// Stops everything, obligations too.
        Freeze = 1 "freeze",
        /// Ends a freeze.
        Unfreeze = 2 "unfreeze",
        /// Cancels all open orders.
        CancelAll = 3 "cancel_all",
        /// Brings all positions to zero.
        HedgeToFlat = 4 "hedge_to_flat",
        /// Stops the instance for good.
        Halt = 5 "halt",
    }
}

record! {
    /// A command of E (BP-3).
    pub struct SafetyEvent {
        /// E's time, ns UTC.
        event_ts: Nanos,
        /// Time of reception, ns UTC.
        recv_ts: Nanos,
        /// The command.
        command: SafetyCommand,
        /// Why.
        reason: ReasonCode,
    }
}

nested!(PositionRow, OpenOrder, Restriction);
