//! Two exponential moving averages of the mid price: long while the fast one is above the slow one, flat otherwise.
//!
//! The cross is the signal, so orders go to the market: waiting for a better price would be another strategy. This is the
//! twin of `examples/ema_cross/strategy.py`, operation by operation: the same events give the same intents.

use std::collections::BTreeMap;

use msup::{
    Config, Context, Decimal, Event, Execution, ExecutionReport, ExecutionSnapshot, InstrumentId,
    IntentsDiscarded, Key, Nanos, Quote, Side, State, Strategy, bail,
};

/// Lengths in quotes; the size as money, so that one value fits every instrument.
#[derive(Config, Clone, Debug)]
pub struct Lengths {
    /// length of the fast average
    #[config(default = 50, min = 1, max = 10_000, unit = "events")]
    pub fast: i64,
    /// length of the slow average
    #[config(default = 250, min = 2, max = 100_000, unit = "events")]
    pub slow: i64,
    /// worth of a position
    #[config(default = 5000, min = 1, unit = "quote")]
    pub notional: Decimal,
    /// rest after an order that failed
    #[config(default = 30, min = 0, max = 86_400, unit = "s")]
    pub pause_s: i64,
}

/// What is known of one instrument.
#[derive(State, Clone, Debug, Default)]
pub struct Leg {
    /// Quotes seen.
    pub quotes: i64,
    /// The fast average.
    pub fast: f64,
    /// The slow average.
    pub slow: f64,
    /// What was filled.
    pub position: Decimal,
    /// The order under way; empty for none.
    pub order: Key,
    /// No orders before.
    pub resume_ts: Nanos,
}

/// All that survives a restart.
#[derive(State, Debug, Default)]
pub struct Legs {
    /// By instrument.
    pub legs: BTreeMap<InstrumentId, Leg>,
}

/// Trades every instrument that it gets on its own, with one order under way at a time.
#[derive(Debug)]
pub struct EmaCross {
    /// The configuration in force.
    pub config: Lengths,
    /// All that survives a restart.
    pub state: Legs,
}

#[msup::strategy]
impl Strategy for EmaCross {
    type Config = Lengths;
    type State = Legs;

    fn on_init(_: &mut Context, config: Lengths, restored_state: Option<Legs>) -> msup::Result<Self> {
        refuse_lengths(&config)?;
        let state = restored_state.unwrap_or_default();
        Ok(Self { config, state })
    }

    fn on_config(&mut self, _: &mut Context, config: &Lengths) -> msup::Result {
        refuse_lengths(config)
    }

    fn on_event(&mut self, ctx: &mut Context, event: &Event) -> msup::Result {
        match event {
            Event::Quote(quote) => self.on_quote(ctx, quote),
            Event::Execution(execution) => self.on_execution(ctx, execution),
            Event::IntentsDiscarded(notice) => {
                self.on_discarded(ctx, notice);
                Ok(())
            }
            Event::ExecutionSnapshot(snapshot) => {
                self.on_snapshot(snapshot);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

msup::export!(EmaCross);

/// Lengths that can never cross.
fn refuse_lengths(config: &Lengths) -> msup::Result {
    if config.fast >= config.slow {
        bail!("fast = {} must be below slow = {}", config.fast, config.slow);
    }
    Ok(())
}

/// The leg of an instrument; a new one at its first event.
fn leg_of<'a>(state: &'a mut Legs, instrument: &InstrumentId) -> &'a mut Leg {
    state.legs.entry(instrument.clone()).or_default()
}

impl EmaCross {
    /// Moves both averages, then brings the position to the side that they are on.
    fn on_quote(&mut self, ctx: &mut Context, quote: &Quote) -> msup::Result {
        let (Some(bid), Some(ask)) = (quote.bid, quote.ask) else {
            return Ok(()); // one-sided: there is no mid price worth averaging
        };
        if bid > ask {
            return Ok(()); // crossed
        }
        let instrument = &quote.market.instrument;
        let leg = leg_of(&mut self.state, instrument);
        let mid = (bid + ask).to_f64() / 2.0;
        if leg.quotes == 0 {
            leg.fast = mid;
            leg.slow = mid;
        }
        leg.quotes += 1;
        leg.fast += (mid - leg.fast) * 2.0 / (self.config.fast + 1) as f64;
        leg.slow += (mid - leg.slow) * 2.0 / (self.config.slow + 1) as f64;
        if leg.quotes <= self.config.slow || !leg.order.is_empty() || ctx.now() < leg.resume_ts {
            return Ok(());
        }
        if leg.fast > leg.slow && leg.position <= Decimal::ZERO {
            enter(ctx, &self.config, leg, instrument, ask)
        } else if leg.fast < leg.slow && leg.position > Decimal::ZERO {
            leg.order = ctx.sell(instrument, leg.position).reduce_only().send()?;
            Ok(())
        } else {
            Ok(())
        }
    }

    /// Follows fills; a final report frees the leg for its next order, after a pause when it was no fill.
    fn on_execution(&mut self, ctx: &mut Context, execution: &Execution) -> msup::Result {
        let leg = leg_of(&mut self.state, &execution.instrument);
        if let Some(quantity) = execution.quantity {
            let signed = if execution.side == Side::Buy {
                quantity
            } else {
                -quantity
            };
            leg.position = (leg.position + signed).exact()?;
        }
        if execution.is_final && execution.key == leg.order {
            leg.order = Key::default();
            if execution.report != ExecutionReport::Filled {
                pause(ctx, &self.config, leg);
            }
        }
        Ok(())
    }

    /// An order that was refused, withdrawn or too late is not under way.
    fn on_discarded(&mut self, ctx: &mut Context, notice: &IntentsDiscarded) {
        for leg in self.state.legs.values_mut() {
            if notice.keys.contains(&leg.order) {
                leg.order = Key::default();
                pause(ctx, &self.config, leg);
            }
        }
    }

    /// I's whole word on the account replaces what was followed report by report.
    fn on_snapshot(&mut self, snapshot: &ExecutionSnapshot) {
        for (instrument, leg) in &mut self.state.legs {
            // Of two rows for one instrument the later one counts.
            let row = snapshot
                .positions
                .iter()
                .rfind(|row| row.instrument == *instrument);
            leg.position = row.map_or(Decimal::ZERO, |row| row.quantity);
            if !snapshot.open.iter().any(|row| row.key == leg.order) {
                leg.order = Key::default();
            }
        }
    }
}

/// Buys what the notional pays for, in whole lots.
fn enter(
    ctx: &mut Context,
    config: &Lengths,
    leg: &mut Leg,
    instrument: &InstrumentId,
    price: Decimal,
) -> msup::Result {
    let Some(affordable) = config.notional.checked_div(price) else {
        bail!("{instrument} is asked for at 0: there is no quantity for a notional");
    };
    let quantity = ctx.quantity(instrument, affordable)?;
    if quantity > Decimal::ZERO {
        leg.order = ctx.buy(instrument, quantity).send()?;
    } else {
        ctx.alert("NOTIONAL_BELOW_ONE_LOT")
            .instrument(instrument)
            .send()?;
        pause(ctx, config, leg);
    }
    Ok(())
}

/// What was refused once is refused again a millisecond later: wait.
fn pause(ctx: &Context, config: &Lengths, leg: &mut Leg) {
    leg.resume_ts = ctx.now() + Nanos::from_secs(config.pause_s);
}
