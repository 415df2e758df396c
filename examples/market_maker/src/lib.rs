//! Quotes both sides around the mid price, moves its quotes with the market, within a limit of inventory.
//!
//! The more it holds, the lower it quotes, so that what it holds is sold sooner than more of it is bought; at the limit it
//! quotes one side only. Where no quotes come any more, it takes its orders out of the book.

use std::collections::BTreeMap;

use msup::{
    Config, Context, Decimal, Event, Execution, ExecutionReport, ExecutionSnapshot, InstrumentId,
    IntentsDiscarded, Key, Nanos, Number, Quote, Side, State, Strategy, dec,
};

/// Width and size of the quotes, and how much may be held.
#[derive(Config, Clone, Debug)]
pub struct Quoting {
    /// distance between the two quotes, as parts of 10,000 of the mid price
    #[config(default = 4, min = 0.01, max = 1000, unit = "bp")]
    pub spread_bp: Decimal,
    /// worth of one quote
    #[config(default = 1000, min = 1, unit = "quote")]
    pub notional: Decimal,
    /// how many quotes may be held, long or short
    #[config(default = 5, min = 1, max = 1000)]
    pub inventory: i64,
    /// how much of half the spread the quotes shift when the inventory is full
    #[config(default = 1, min = 0, max = 10)]
    pub skew: Decimal,
    /// least time between two moves of the quotes
    #[config(default = 500, min = 0, max = 60_000, unit = "ms")]
    pub rest_ms: i64,
    /// without a quote for so long, orders are taken back
    #[config(default = 30, min = 1, max = 3600, unit = "s")]
    pub patience_s: i64,
}

/// One order in the book, or on its way there.
#[derive(State, Clone, Debug, Default)]
pub struct Resting {
    /// Names it; empty for none.
    pub key: Key,
    /// Its limit price, as far as I has confirmed it.
    pub price: Decimal,
    /// The limit price that was asked for last.
    pub asked: Decimal,
    /// The cancel or amend under way; empty for none.
    pub request: Key,
}

/// What is known of one instrument.
#[derive(State, Clone, Debug, Default)]
pub struct Leg {
    /// What was filled; below zero short.
    pub position: Decimal,
    /// The buy order.
    pub bid: Resting,
    /// The sell order.
    pub ask: Resting,
    /// When the last quote came.
    pub quoted_ts: Nanos,
    /// No moves before.
    pub resume_ts: Nanos,
    /// Whether the timer of [`Quoting::patience_s`] is set.
    pub watched: bool,
}

/// All that survives a restart.
#[derive(State, Debug, Default)]
pub struct Legs {
    /// By instrument.
    pub legs: BTreeMap<InstrumentId, Leg>,
}

/// Trades every instrument that it gets on its own.
#[derive(Debug)]
pub struct MarketMaker {
    /// The configuration in force.
    pub config: Quoting,
    /// All that survives a restart.
    pub state: Legs,
}

#[msup::strategy]
impl Strategy for MarketMaker {
    type Config = Quoting;
    type State = Legs;

    fn on_event(&mut self, ctx: &mut Context, event: &Event) -> msup::Result {
        match event {
            Event::Quote(quote) => self.on_quote(ctx, quote),
            Event::Execution(execution) => self.on_execution(ctx, execution),
            Event::IntentsDiscarded(notice) => {
                self.on_discarded(notice);
                Ok(())
            }
            Event::ExecutionSnapshot(snapshot) => {
                self.on_snapshot(snapshot);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_timer(&mut self, ctx: &mut Context, timer_id: &str, _: Nanos) -> msup::Result {
        let Some((instrument, leg)) = self.state.legs.iter_mut().find(|(id, _)| id.as_str() == timer_id)
        else {
            return Ok(());
        };
        leg.watched = false;
        let silent_at = leg.quoted_ts + Nanos::from_secs(self.config.patience_s);
        if silent_at <= ctx.now() {
            cancel(ctx, instrument, &mut leg.bid)?;
            cancel(ctx, instrument, &mut leg.ask)?;
        } else if !(leg.bid.key.is_empty() && leg.ask.key.is_empty()) {
            ctx.set_timer(timer_id, silent_at)?;
            leg.watched = true;
        }
        Ok(())
    }

    /// Nobody would move the orders any more.
    fn on_shutdown(&mut self, ctx: &mut Context, _: &str) -> msup::Result {
        for (instrument, leg) in &mut self.state.legs {
            cancel(ctx, instrument, &mut leg.bid)?;
            cancel(ctx, instrument, &mut leg.ask)?;
        }
        Ok(())
    }
}

msup::export!(MarketMaker);

/// Where the quotes should stand; `None` takes a side out of the book.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    bid: Option<Decimal>,
    ask: Option<Decimal>,
    size: Decimal,
}

impl MarketMaker {
    /// Moves the quotes to where they should stand, not more often than `rest_ms`.
    fn on_quote(&mut self, ctx: &mut Context, quote: &Quote) -> msup::Result {
        let (Some(bid), Some(ask)) = (quote.bid, quote.ask) else {
            return Ok(()); // one-sided: there is no mid price
        };
        if bid > ask || bid <= Decimal::ZERO {
            return Ok(());
        }
        let instrument = &quote.market.instrument;
        let leg = self.state.legs.entry(instrument.clone()).or_default();
        leg.quoted_ts = ctx.now();
        if ctx.now() < leg.resume_ts {
            return Ok(());
        }
        let Some(wanted) = wanted(ctx, &self.config, instrument, leg.position, (bid, ask))? else {
            ctx.alert("NOTIONAL_BELOW_ONE_LOT")
                .instrument(instrument)
                .send()?;
            leg.resume_ts = ctx.now() + Nanos::from_secs(self.config.patience_s);
            return Ok(());
        };
        let mut moved = settle(ctx, instrument, &mut leg.bid, Side::Buy, wanted.bid, wanted.size)?;
        moved |= settle(ctx, instrument, &mut leg.ask, Side::Sell, wanted.ask, wanted.size)?;
        if moved {
            leg.resume_ts = ctx.now() + Nanos::from_millis(self.config.rest_ms);
            if !leg.watched {
                ctx.set_timer_after(instrument.as_str(), Nanos::from_secs(self.config.patience_s))?;
                leg.watched = true;
            }
        }
        Ok(())
    }

    /// Follows fills and what became of orders and requests.
    fn on_execution(&mut self, ctx: &mut Context, execution: &Execution) -> msup::Result {
        let leg = self.state.legs.entry(execution.instrument.clone()).or_default();
        if let Some(quantity) = execution.quantity {
            let signed = if execution.side == Side::Buy {
                quantity
            } else {
                -quantity
            };
            leg.position = (leg.position + signed).exact()?;
        }
        for resting in [&mut leg.bid, &mut leg.ask] {
            if resting.key == execution.key && execution.is_final {
                *resting = Resting::default();
            } else if resting.key == execution.key && execution.report == ExecutionReport::Amended {
                resting.price = resting.asked;
                resting.request = Key::default();
            } else if resting.request == execution.key {
                resting.request = Key::default(); // refused: the order stands as it stood
            }
        }
        if execution.report == ExecutionReport::Rejected {
            leg.resume_ts = ctx.now() + Nanos::from_millis(self.config.rest_ms);
        }
        Ok(())
    }

    /// What was never sent is not under way.
    fn on_discarded(&mut self, notice: &IntentsDiscarded) {
        for leg in self.state.legs.values_mut() {
            for resting in [&mut leg.bid, &mut leg.ask] {
                if notice.keys.contains(&resting.key) {
                    *resting = Resting::default();
                } else if notice.keys.contains(&resting.request) {
                    resting.request = Key::default();
                }
            }
        }
    }

    /// I's whole word on the account replaces what was followed report by report.
    fn on_snapshot(&mut self, snapshot: &ExecutionSnapshot) {
        for (instrument, leg) in &mut self.state.legs {
            let row = snapshot
                .positions
                .iter()
                .rfind(|row| row.instrument == *instrument);
            leg.position = row.map_or(Decimal::ZERO, |row| row.quantity);
            for resting in [&mut leg.bid, &mut leg.ask] {
                if !snapshot.open.iter().any(|row| row.key == resting.key) {
                    *resting = Resting::default();
                }
            }
        }
    }
}

/// The prices around the mid price, shifted against the inventory; `None` where the notional is worth less than a lot.
fn wanted(
    ctx: &Context,
    config: &Quoting,
    instrument: &InstrumentId,
    position: Decimal,
    (bid, ask): (Decimal, Decimal),
) -> msup::Result<Option<Wanted>> {
    let mid = (bid + ask) / dec!(2);
    let size = ctx.quantity(instrument, config.notional / mid)?;
    if size.is_zero() {
        return Ok(None);
    }
    let half = mid * config.spread_bp / dec!(20000);
    let full = size * Number::from(config.inventory);
    let centre = mid - half * config.skew * (position / full);
    // Never into the other side: the order would trade at once, and is refused for it.
    let low = ctx.price(instrument, centre - half, Side::Buy)?.min(bid);
    let high = ctx.price(instrument, centre + half, Side::Sell)?.max(ask);
    Ok(Some(Wanted {
        bid: (position + size <= full && low > Decimal::ZERO).then_some(low),
        ask: (position - size >= -full).then_some(high),
        size,
    }))
}

/// Makes one side what it should be: places, amends or cancels; whether anything was asked for.
fn settle(
    ctx: &mut Context,
    instrument: &InstrumentId,
    resting: &mut Resting,
    side: Side,
    price: Option<Decimal>,
    size: Decimal,
) -> msup::Result<bool> {
    if !resting.request.is_empty() {
        return Ok(false); // one change at a time
    }
    match price {
        None => cancel(ctx, instrument, resting),
        Some(price) if resting.key.is_empty() => {
            let order = match side {
                Side::Buy => ctx.buy(instrument, size),
                _ => ctx.sell(instrument, size),
            };
            *resting = Resting {
                key: order.limit(price).post_only().send()?,
                price,
                asked: price,
                request: Key::default(),
            };
            Ok(true)
        }
        Some(price) if price == resting.price => Ok(false),
        Some(price) => {
            resting.request = ctx
                .amend(&resting.key)
                .limit(price)
                .instrument(instrument)
                .send()?;
            resting.asked = price;
            Ok(true)
        }
    }
}

/// Asks to take the order back, once; whether it was asked for.
fn cancel(ctx: &mut Context, instrument: &InstrumentId, resting: &mut Resting) -> msup::Result<bool> {
    if resting.key.is_empty() || !resting.request.is_empty() {
        return Ok(false);
    }
    resting.request = ctx.cancel(&resting.key).instrument(instrument).send()?;
    Ok(true)
}
