//! Requests for intents: what is optional is added call by call, and `.send()` hands the intent to the step's answer. The
//! idempotency key comes back; it names the order in later requests and in executions.

use crate::context::{Context, id_of, text};
use crate::decimal::Decimal;
use crate::fault::{Error, Result};
use crate::id::{InstrumentId, Key};
use crate::intent::{
    AlertIntent, AmendIntent, CancelIntent, IntentBody, NoOpIntent, OrderIntent, OrderType, PositionIntent,
    RiskContext, RiskHint, Severity, Side, TimeInForce,
};
use crate::limits::{MAX_ID_BYTES, MAX_TAG_BYTES};

/// What every intent may carry on top of its body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) risk: Option<RiskContext>,
    pub(crate) name: String,
    pub(crate) proposal: String,
}

macro_rules! requests {
    ($( $(#[$meta:meta])* $name:ident { $($field:ident: $kind:ty),* } )*) => { $(
        $(#[$meta])*
        #[must_use = "nothing is asked for until .send()"]
        #[derive(Debug)]
        pub struct $name<'a> {
            ctx: &'a mut Context,
            options: Options,
            $($field: $kind,)*
        }

        impl $name<'_> {
            /// Risk metadata for this intent only, instead of the strategy's or the descriptor's.
            pub fn risk(mut self, risk: RiskContext) -> Self {
                self.options.risk = Some(risk);
                self
            }

            /// Keyed by this name instead of by step and ordinal: the same name never does anything twice.
            pub fn name(mut self, name: &str) -> Self {
                name.clone_into(&mut self.options.name);
                self
            }
        }
    )* };
}

requests! {
    /// An order; see [`Context::buy`].
    OrderRequest {
        instrument: InstrumentId, side: Side, quantity: Decimal, limit: Option<Decimal>, stop: Option<Decimal>,
        tif: TimeInForce, reduce_only: bool, post_only: bool
    }
    /// The end of an order; see [`Context::cancel`].
    CancelRequest { instrument: InstrumentId, key: Key }
    /// A change of an order; see [`Context::amend`].
    AmendRequest { instrument: InstrumentId, key: Key, quantity: Option<Decimal>, limit: Option<Decimal> }
    /// A target position; see [`Context::target`].
    TargetRequest { instrument: InstrumentId, quantity: Decimal, limit: Option<Decimal> }
    /// A message to people; see [`Context::alert`].
    AlertRequest { instrument: InstrumentId, severity: Severity, code: String }
    /// Nothing, on the record; see [`Context::no_op`].
    NoOpRequest { reason: String }
    /// A message to J and E; see [`Context::risk_hint`].
    RiskHintRequest { instrument: InstrumentId, hint: String, value: Option<Decimal> }
}

impl Context {
    /// Asks for a buy order.
    ///
    /// Without `limit` and `stop` a market order, with one a limit or stop order, with both a stop-limit order.
    ///
    /// ```
    /// # use msup::{Context, Key, dec};
    /// # fn decide(ctx: &mut Context) -> msup::Result<Key> {
    /// ctx.buy("BTCUSDT", dec!(0.25)).limit(dec!(64000.1)).post_only().send()
    /// # }
    /// ```
    pub fn buy(&mut self, instrument: impl AsRef<str>, quantity: impl Into<Decimal>) -> OrderRequest<'_> {
        self.order(Side::Buy, instrument.as_ref(), quantity.into())
    }

    /// Asks for a sell order; see [`Context::buy`].
    pub fn sell(&mut self, instrument: impl AsRef<str>, quantity: impl Into<Decimal>) -> OrderRequest<'_> {
        self.order(Side::Sell, instrument.as_ref(), quantity.into())
    }

    fn order(&mut self, side: Side, instrument: &str, quantity: Decimal) -> OrderRequest<'_> {
        OrderRequest {
            ctx: self,
            options: Options::default(),
            instrument: instrument.into(),
            side,
            quantity,
            limit: None,
            stop: None,
            tif: TimeInForce::GoodTillCancel,
            reduce_only: false,
            post_only: false,
        }
    }

    /// Asks to cancel the order of an earlier intent. The instrument may be left out where the instance has just one.
    pub fn cancel(&mut self, key: &Key) -> CancelRequest<'_> {
        CancelRequest {
            ctx: self,
            options: Options::default(),
            instrument: InstrumentId::default(),
            key: key.clone(),
        }
    }

    /// Asks to change quantity, limit price or both of an earlier order; what is not named stays as it is. The instrument may
    /// be left out where the instance has just one.
    pub fn amend(&mut self, key: &Key) -> AmendRequest<'_> {
        AmendRequest {
            ctx: self,
            options: Options::default(),
            instrument: InstrumentId::default(),
            key: key.clone(),
            quantity: None,
            limit: None,
        }
    }

    /// Asks I to bring the position to a signed target: above zero long, 0 flat.
    pub fn target(&mut self, instrument: impl AsRef<str>, quantity: impl Into<Decimal>) -> TargetRequest<'_> {
        TargetRequest {
            ctx: self,
            options: Options::default(),
            instrument: instrument.as_ref().into(),
            quantity: quantity.into(),
            limit: None,
        }
    }

    /// Tells people something: a short code of at most 64 bytes, never free text. A warning unless it says otherwise.
    pub fn alert(&mut self, code: &str) -> AlertRequest<'_> {
        AlertRequest {
            ctx: self,
            options: Options::default(),
            instrument: InstrumentId::default(),
            severity: Severity::Warning,
            code: code.to_owned(),
        }
    }

    /// Records the decision to do nothing.
    pub fn no_op(&mut self, reason: &str) -> NoOpRequest<'_> {
        NoOpRequest {
            ctx: self,
            options: Options::default(),
            reason: reason.to_owned(),
        }
    }

    /// Tells J and E something; they decide.
    pub fn risk_hint(&mut self, hint: &str) -> RiskHintRequest<'_> {
        RiskHintRequest {
            ctx: self,
            options: Options::default(),
            instrument: InstrumentId::default(),
            hint: hint.to_owned(),
            value: None,
        }
    }
}

/// The instrument, for requests that can do without.
macro_rules! instrument {
    ($($name:ident),*) => { $(
        impl $name<'_> {
            /// The instrument that it is about.
            pub fn instrument(mut self, instrument: impl AsRef<str>) -> Self {
                self.instrument = instrument.as_ref().into();
                self
            }
        }
    )* };
}

instrument!(CancelRequest, AmendRequest, AlertRequest, RiskHintRequest);

/// The proposal, for requests that can increase risk.
macro_rules! proposal {
    ($($name:ident),*) => { $(
        impl $name<'_> {
            /// The limit price.
            pub fn limit(mut self, limit: impl Into<Decimal>) -> Self {
                self.limit = Some(limit.into());
                self
            }

            /// The proposal that it rests on.
            pub fn proposal(mut self, proposal: &str) -> Self {
                proposal.clone_into(&mut self.options.proposal);
                self
            }
        }
    )* };
}

proposal!(OrderRequest, AmendRequest, TargetRequest);

impl OrderRequest<'_> {
    /// The stop price.
    pub fn stop(mut self, stop: impl Into<Decimal>) -> Self {
        self.stop = Some(stop.into());
        self
    }

    /// How long it stays, instead of until it is canceled.
    pub fn tif(mut self, tif: TimeInForce) -> Self {
        self.tif = tif;
        self
    }

    /// It may only reduce a position.
    pub fn reduce_only(mut self) -> Self {
        self.reduce_only = true;
        self
    }

    /// It may only add to the book.
    pub fn post_only(mut self) -> Self {
        self.post_only = true;
        self
    }

    /// Hands the intent over.
    pub fn send(self) -> Result<Key> {
        let order_type = match (self.limit, self.stop) {
            (None, None) => OrderType::Market,
            (Some(_), None) => OrderType::Limit,
            (None, Some(_)) => OrderType::Stop,
            (Some(_), Some(_)) => OrderType::StopLimit,
        };
        let body = OrderIntent {
            instrument: self.ctx.instrument_of(self.instrument)?,
            side: self.side,
            order_type,
            quantity: positive(self.quantity)?,
            limit_price: self.limit,
            stop_price: self.stop,
            time_in_force: self.tif,
            reduce_only: self.reduce_only,
            post_only: self.post_only,
        };
        self.ctx.emit(IntentBody::Order(body), self.options)
    }
}

impl CancelRequest<'_> {
    /// Hands the intent over.
    pub fn send(self) -> Result<Key> {
        let body = CancelIntent {
            instrument: self.ctx.instrument_of(self.instrument)?,
            target_key: target_key(self.key)?,
        };
        self.ctx.emit(IntentBody::Cancel(body), self.options)
    }
}

impl AmendRequest<'_> {
    /// The new quantity.
    pub fn quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.quantity = Some(quantity.into());
        self
    }

    /// Hands the intent over.
    pub fn send(self) -> Result<Key> {
        if self.quantity.is_none() && self.limit.is_none() {
            return Err(Error::new("amend: give a quantity, a limit or both"));
        }
        let body = AmendIntent {
            instrument: self.ctx.instrument_of(self.instrument)?,
            target_key: target_key(self.key)?,
            quantity: self.quantity.map(positive).transpose()?,
            limit_price: self.limit,
        };
        self.ctx.emit(IntentBody::Amend(body), self.options)
    }
}

impl TargetRequest<'_> {
    /// Hands the intent over.
    pub fn send(self) -> Result<Key> {
        let body = PositionIntent {
            instrument: self.ctx.instrument_of(self.instrument)?,
            target_quantity: self.quantity,
            limit_price: self.limit,
        };
        self.ctx.emit(IntentBody::Position(body), self.options)
    }
}

impl AlertRequest<'_> {
    /// How urgent it is.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Hands the intent over.
    pub fn send(self) -> Result<Key> {
        text(&self.code, "code", MAX_TAG_BYTES)?;
        let body = AlertIntent {
            severity: self.severity,
            code: self.code,
            instrument: id_of(self.instrument)?,
        };
        self.ctx.emit(IntentBody::Alert(body), self.options)
    }
}

impl NoOpRequest<'_> {
    /// Hands the intent over.
    pub fn send(self) -> Result<Key> {
        text(&self.reason, "reason", MAX_TAG_BYTES)?;
        let body = NoOpIntent { reason: self.reason };
        self.ctx.emit(IntentBody::NoOp(body), self.options)
    }
}

impl RiskHintRequest<'_> {
    /// A number with it.
    pub fn value(mut self, value: impl Into<Decimal>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Hands the intent over.
    pub fn send(self) -> Result<Key> {
        text(&self.hint, "hint", MAX_TAG_BYTES)?;
        let body = RiskHint {
            hint: self.hint,
            instrument: id_of(self.instrument)?,
            value: self.value,
        };
        self.ctx.emit(IntentBody::RiskHint(body), self.options)
    }
}

fn positive(quantity: Decimal) -> Result<Decimal> {
    if quantity.is_zero() || quantity.is_negative() {
        return Err(Error::new(format!(
            "quantity: {quantity} is not above zero; the side says whether to buy or to sell"
        )));
    }
    Ok(quantity)
}

fn target_key(key: Key) -> Result<Key> {
    text(key.as_str(), "key", MAX_ID_BYTES)?;
    Ok(key)
}
