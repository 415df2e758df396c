//! Intents: the only thing that leaves M (NN-5), in the order of the wire (PROTOCOL.md section 4).

use crate::codec::{Fields, Reader, Wire, Writer};
use crate::decimal::Decimal;
use crate::error::{DecodeError, EncodeError, Within};
use crate::id::{BotId, InstanceId, InstrumentId, Key, Nanos, RunId, StrategyId, TraceId};
use crate::limits::{MAX_ID_BYTES, MAX_TAG_BYTES};
use crate::record::{nested, number_enum, record};

number_enum! {
    /// The first element of every encoded intent (DM-4).
    pub enum IntentKind as "intent kind", UnknownType {
        /// See [`OrderIntent`].
        Order = 1 "order",
        /// See [`CancelIntent`].
        Cancel = 2 "cancel",
        /// See [`AmendIntent`].
        Amend = 3 "amend",
        /// See [`PositionIntent`].
        Position = 4 "position",
        /// See [`AlertIntent`].
        Alert = 5 "alert",
        /// See [`NoOpIntent`].
        NoOp = 6 "no_op",
        /// See [`RiskHint`].
        RiskHint = 7 "risk_hint",
    }
}

number_enum! {
    /// Says who buys.
    pub enum Side as "side", Range {
        /// Not known; legal on trades and execution reports only.
        Unknown = 0 "unknown",
        /// Buys.
        Buy = 1 "buy",
        /// Sells.
        Sell = 2 "sell",
    }
}

number_enum! {
    /// Says how an order is priced.
    pub enum OrderType as "order type", Range {
        /// At the market's price.
        Market = 1 "market",
        /// At the limit price or better.
        Limit = 2 "limit",
        /// At the market's price once the stop price is reached.
        Stop = 3 "stop",
        /// At the limit price or better once the stop price is reached.
        StopLimit = 4 "stop_limit",
    }
}

number_enum! {
    /// Says how long an order stays.
    pub enum TimeInForce as "time in force", Range {
        /// Until it is canceled.
        GoodTillCancel = 1 "gtc",
        /// What cannot be filled at once is canceled.
        ImmediateOrCancel = 2 "ioc",
        /// Filled wholly at once or not at all.
        FillOrKill = 3 "fok",
        /// Until the end of the day.
        Day = 4 "day",
    }
}

number_enum! {
    /// Grades an alert.
    pub enum Severity as "severity", Range {
        /// For the record.
        Info = 1 "info",
        /// Should be looked at.
        Warning = 2 "warning",
        /// Must be looked at.
        Critical = 3 "critical",
    }
}

number_enum! {
    /// The state of an intent in the ledger and at I; every change is an appended row (GT-7).
    pub enum Status as "intent status", Range {
        /// I's answer to a query for a key that it does not know; never stored.
        NotSeen = 0 "not_seen",
        /// Durable in the ledger.
        Staged = 1 "staged",
        /// May be offered.
        Approved = 2 "approved",
        /// Sent to I.
        Offered = 3 "offered",
        /// Taken by I.
        Committed = 4 "committed",
        /// Refused by I.
        Rejected = 5 "rejected",
        /// Too late.
        Expired = 6 "expired",
        /// Taken back before it was offered.
        Withdrawn = 7 "withdrawn",
    }
}

impl Status {
    /// Whether no other status may follow.
    pub fn is_terminal(self) -> bool {
        self >= Self::Committed
    }

    /// Whether `next` may be appended after this status.
    pub fn can_become(self, next: Self) -> bool {
        match self {
            Self::NotSeen => next == Self::Staged,
            Self::Staged => matches!(next, Self::Approved | Self::Expired | Self::Withdrawn),
            Self::Approved => next >= Self::Offered,
            Self::Offered => matches!(next, Self::Committed | Self::Rejected | Self::Expired),
            Self::Committed | Self::Rejected | Self::Expired | Self::Withdrawn => false,
        }
    }
}

record! {
    /// What J needs to judge an intent (BC-J).
    pub struct RiskContext {
        /// Largest tolerable slippage, as a fraction of the price (0.001 is 10 bp).
        max_slippage: Decimal,
        /// Tolerable delay from the step to the offer, ns; it sets `valid_until`.
        max_delay: Nanos,
        /// Expected holding time, ns.
        holding_time: Nanos,
        /// Largest notional at stake, in the quote currency.
        budget: Decimal,
    }
}

record! {
    /// Mandatory on every intent, or it is discarded (GT-4). `name` and `proposal` are optional.
    pub struct IntentMeta {
        /// The group.
        bot: BotId,
        /// The strategy.
        strategy: StrategyId,
        /// Its version.
        strategy_version: String [max MAX_ID_BYTES],
        /// The shard.
        instance: InstanceId,
        /// The run.
        run_id: RunId,
        /// The trace of the event that led to it.
        trace_id: TraceId,
        /// The idempotency key (GT-5).
        key: Key,
        /// What J needs; `None` is missing.
        risk_context: Option<RiskContext>,
        /// The name of a named key; empty when keyed by step and ordinal.
        name: String [max MAX_ID_BYTES],
        /// The proposal that a risk-increasing intent rests on; empty for none.
        proposal: String [max MAX_ID_BYTES],
    }
}

fn order_side(side: &Side) -> Option<String> {
    (*side == Side::Unknown).then(|| "an order buys or sells: side 1 or 2".to_owned())
}

record! {
    /// Asks I for a new order.
    pub struct OrderIntent {
        /// What is traded.
        instrument: InstrumentId,
        /// Who buys.
        side: Side [check order_side],
        /// How it is priced (`type` on the page; a reserved word in Rust).
        order_type: OrderType,
        /// How much.
        quantity: Decimal,
        /// The limit price of limit and stop-limit orders.
        limit_price: Option<Decimal>,
        /// The stop price of stop and stop-limit orders.
        stop_price: Option<Decimal>,
        /// How long it stays.
        time_in_force: TimeInForce,
        /// May only reduce a position.
        reduce_only: bool,
        /// May only add to the book.
        post_only: bool,
    }
}

record! {
    /// Asks I to cancel the order of an earlier intent.
    pub struct CancelIntent {
        /// What is traded.
        instrument: InstrumentId,
        /// The earlier intent's key.
        target_key: Key,
    }
}

record! {
    /// Asks I to change the order of an earlier intent; `None` leaves a value as it is.
    pub struct AmendIntent {
        /// What is traded.
        instrument: InstrumentId,
        /// The earlier intent's key.
        target_key: Key,
        /// The new quantity.
        quantity: Option<Decimal>,
        /// The new limit price.
        limit_price: Option<Decimal>,
    }
}

record! {
    /// Asks I to bring the position to a signed target.
    pub struct PositionIntent {
        /// What is traded.
        instrument: InstrumentId,
        /// The target; above zero long.
        target_quantity: Decimal,
        /// The worst price.
        limit_price: Option<Decimal>,
    }
}

record! {
    /// Tells people something; the code is a short tag, never free text.
    pub struct AlertIntent {
        /// How urgent it is.
        severity: Severity,
        /// What it is.
        code: String [max MAX_TAG_BYTES],
        /// Which instrument it concerns; empty for none.
        instrument: InstrumentId,
    }
}

record! {
    /// Records the decision to do nothing.
    pub struct NoOpIntent {
        /// Why.
        reason: String [max MAX_TAG_BYTES],
    }
}

record! {
    /// Tells J and E something; they decide.
    pub struct RiskHint {
        /// What it is.
        hint: String [max MAX_TAG_BYTES],
        /// Which instrument it concerns; empty for none.
        instrument: InstrumentId,
        /// A number with it.
        value: Option<Decimal>,
    }
}

nested!(RiskContext, IntentMeta);

/// What an intent asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum IntentBody {
    /// A new order.
    Order(OrderIntent),
    /// The end of an order.
    Cancel(CancelIntent),
    /// A change of an order.
    Amend(AmendIntent),
    /// A target position.
    Position(PositionIntent),
    /// A message to people.
    Alert(AlertIntent),
    /// Nothing.
    NoOp(NoOpIntent),
    /// A message to J and E.
    RiskHint(RiskHint),
}

impl IntentBody {
    /// The number that stands first on the wire.
    pub fn kind(&self) -> IntentKind {
        match self {
            Self::Order(_) => IntentKind::Order,
            Self::Cancel(_) => IntentKind::Cancel,
            Self::Amend(_) => IntentKind::Amend,
            Self::Position(_) => IntentKind::Position,
            Self::Alert(_) => IntentKind::Alert,
            Self::NoOp(_) => IntentKind::NoOp,
            Self::RiskHint(_) => IntentKind::RiskHint,
        }
    }

    fn put(&self, w: &mut Writer) -> Result<(), EncodeError> {
        fn body<T: Fields>(w: &mut Writer, body: &T) -> Result<(), EncodeError> {
            w.array(T::WIDTH)?;
            body.put_fields(w)
        }
        match self {
            Self::Order(order) => body(w, order),
            Self::Cancel(cancel) => body(w, cancel),
            Self::Amend(amend) => body(w, amend),
            Self::Position(position) => body(w, position),
            Self::Alert(alert) => body(w, alert),
            Self::NoOp(no_op) => body(w, no_op),
            Self::RiskHint(hint) => body(w, hint),
        }
    }

    fn take(r: &mut Reader<'_>, kind: IntentKind) -> Result<Self, DecodeError> {
        match kind {
            IntentKind::Order => r.record().map(Self::Order),
            IntentKind::Cancel => r.record().map(Self::Cancel),
            IntentKind::Amend => r.record().map(Self::Amend),
            IntentKind::Position => r.record().map(Self::Position),
            IntentKind::Alert => r.record().map(Self::Alert),
            IntentKind::NoOp => r.record().map(Self::NoOp),
            IntentKind::RiskHint => r.record().map(Self::RiskHint),
        }
    }
}

/// Metadata and one body: `[kind, meta, body]` on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Whose it is, and by which key it is known.
    pub meta: IntentMeta,
    /// What it asks for.
    pub body: IntentBody,
}

impl Intent {
    /// Names the body.
    pub fn kind(&self) -> IntentKind {
        self.body.kind()
    }

    /// Writes the intent with metadata other than its own, for the digests.
    pub(crate) fn put_as(&self, meta: &IntentMeta, w: &mut Writer) -> Result<(), EncodeError> {
        w.array(3)?;
        self.kind().put(w, 0)?;
        meta.put(w, 0).map_err(|error| error.within("meta"))?;
        self.body
            .put(w)
            .map_err(|error| error.within(self.kind().as_str()))
    }
}

impl Wire for Intent {
    /// `[kind, meta, body]` with an empty string in every field of meta and one field in the body.
    const LEAST_BYTES: usize = 2 + <IntentMeta as Wire>::LEAST_BYTES + 2;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        self.put_as(&self.meta, w)
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        r.array(3, |r, _| {
            let kind = IntentKind::take(r, 0).map_err(|error| error.within("kind"))?;
            let meta = r.record().map_err(|error| error.within("meta"))?;
            let body = IntentBody::take(r, kind).map_err(|error| error.within(kind.as_str()))?;
            Ok((Self { meta, body }, 3))
        })
    }
}
