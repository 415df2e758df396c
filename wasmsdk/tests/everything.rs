//! The twin of `Everything` in tests/golden/make.py: the same conversation must have the same answers, byte for byte.

#[path = "support/golden.rs"]
mod golden;

use std::path::Path;

use msup::fault::Error;
use msup::{
    Config, Context, Decimal, Event, Health, ManualSignal, Nanos, OpenIntent, Position, Quote, RiskContext,
    Severity, Side, State, Strategy, TimeInForce, bail, dec,
};

const OWN_RISK: RiskContext = RiskContext {
    max_slippage: dec!(0.01),
    max_delay: Nanos(5),
    holding_time: Nanos(6),
    budget: dec!(7.5),
};

#[derive(Config, Clone)]
struct Settings {
    #[config(default = 3, min = 1, max = 10)]
    every: i64,
    #[config(default = 0.5, min = 0.1)]
    size: Decimal,
    #[config(default = 0.25)]
    ratio: f64,
    #[config(default = "BINANCE", choices("BINANCE", "KRAKEN"))]
    venue: String,
    #[config(default = false)]
    loud: bool,
}

#[derive(State, Default)]
struct Seen {
    quotes: i64,
    drawn: f64,
    last: msup::Key,
}

struct Everything {
    config: Settings,
    state: Seen,
}

#[msup::strategy]
impl Strategy for Everything {
    type Config = Settings;
    type State = Seen;

    fn on_init(ctx: &mut Context, config: Settings, restored_state: Option<Seen>) -> msup::Result<Self> {
        if restored_state.is_none() {
            ctx.set_timer_after("first", Nanos::from_secs(10))?;
        }
        let state = restored_state.unwrap_or_default();
        Ok(Self { config, state })
    }

    fn on_event(&mut self, ctx: &mut Context, event: &Event) -> msup::Result {
        match event {
            Event::Quote(quote) => self.on_quote(ctx, quote)?,
            Event::ManualSignal(signal) => on_manual(ctx, signal)?,
            Event::Execution(execution) => {
                let reason = format!("EXECUTION_{}", execution.report as u8);
                ctx.no_op(&reason).name(&format!("x-{}", execution.key)).send()?;
            }
            Event::Bar(_) => drop(ctx.no_op("Bar").send()?),
            Event::Timer(_) => drop(ctx.no_op("Timer").send()?),
            _ => bail!("not in the conversation"),
        }
        Ok(())
    }

    fn on_timer(&mut self, ctx: &mut Context, timer_id: &str, ts: Nanos) -> msup::Result {
        ctx.sell("BTCUSDT", dec!(0.001))
            .name(&format!("{timer_id}-{ts}"))
            .send()?;
        ctx.set_timer_after(timer_id, Nanos::from_secs(10))?;
        Ok(())
    }

    fn on_shutdown(&mut self, ctx: &mut Context, reason: &str) -> msup::Result {
        ctx.no_op(reason).send()?;
        Ok(())
    }

    fn on_config(&mut self, ctx: &mut Context, config: &Settings) -> msup::Result {
        let reason = format!(
            "EVERY_{}_{}_{}_{}_{}",
            config.every,
            self.config.every,
            config.size,
            config.venue,
            u8::from(config.loud)
        );
        ctx.no_op(&reason).send()?;
        Ok(())
    }

    fn on_recovered(
        &mut self,
        ctx: &mut Context,
        positions: &[Position],
        open_intents: &[OpenIntent],
        intents_since_checkpoint: &[OpenIntent],
    ) -> msup::Result {
        let (open, since) = (open_intents.len(), intents_since_checkpoint.len());
        ctx.no_op(&format!("{} {open} {since}", positions[0].quantity))
            .send()?;
        Ok(())
    }

    fn on_healthcheck(&self, _: &Context) -> msup::Result<Health> {
        Ok(match self.state.quotes < 5 {
            true => Health::degraded("few"),
            false => Health::healthy(),
        })
    }
}

impl Everything {
    fn on_quote(&mut self, ctx: &mut Context, quote: &Quote) -> msup::Result {
        self.state.quotes += 1;
        self.state.drawn += ctx.rng().random();
        let (Some(bid), Some(ask)) = (quote.bid, quote.ask) else {
            return Ok(());
        };
        if self.state.quotes % self.config.every != 0 {
            return Ok(());
        }
        let name = &quote.market.instrument;
        let middle = (bid + ask) / dec!(2);
        let spread = (ask - bid).exact()?;
        let last = match self.state.last.is_empty() {
            true => "none".into(),
            false => self.state.last.clone(),
        };
        match (self.state.quotes / self.config.every) % 9 {
            0 => {
                self.state.last = ctx.buy(name, self.config.size).send()?;
                let named = format!("ask-{}", ctx.step());
                ctx.sell(name, dec!(0.25))
                    .limit(ask)
                    .post_only()
                    .name(&named)
                    .send()?;
            }
            1 => {
                ctx.buy(name, 2)
                    .stop(ask)
                    .tif(TimeInForce::Day)
                    .risk(OWN_RISK)
                    .send()?;
                let sale = ctx.sell(name, 1).limit(bid).stop(ask).proposal("p-1");
                sale.tif(TimeInForce::ImmediateOrCancel).send()?;
            }
            2 => {
                ctx.cancel(&last).instrument(name).send()?;
                ctx.amend(&last)
                    .quantity(3)
                    .limit(middle.exact()?)
                    .instrument(name)
                    .send()?;
            }
            3 => {
                ctx.target(name, dec!(-0.75)).limit(bid).proposal("flat").send()?;
                ctx.target(name, 0).send()?;
            }
            4 => {
                ctx.alert("WIDE")
                    .severity(Severity::Critical)
                    .instrument(name)
                    .send()?;
                ctx.alert("PLAIN").send()?;
                ctx.risk_hint("VOLATILE").instrument(name).value(spread).send()?;
                ctx.risk_hint("CALM").send()?;
            }
            5 => {
                ctx.telemetry("mid", middle.to_f64())?;
                ctx.telemetry("regime", self.config.venue.as_str())?;
                ctx.telemetry("spread", spread)?;
                ctx.set_timer("a", ctx.now() + Nanos(5))?;
                ctx.cancel_timer("b")?;
                ctx.checkpoint();
            }
            6 => {
                let ordinal = ctx.submit_compute("fit", &[(ctx.step().0 % 256) as u8, 0], Nanos(9))?;
                assert_eq!((ordinal, ctx.submit_compute("fit", b"", Nanos(10))?), (0, 1));
            }
            7 => {
                let rough = middle.to_f64() * (1.0 + self.config.ratio * ctx.rng().random());
                let price = ctx.price(name, rough, Side::Sell)?;
                let size = 1 + ctx.rng().below(9) as i32;
                ctx.sell(name, size).limit(price).send()?;
                let size = *ctx.rng().choice(&[1, 2, 3]).expect("not empty");
                let price = ctx.price(name, middle * dec!(0.99), Side::Buy)?;
                ctx.buy(name, size).limit(price).send()?;
                let drawn = ctx.rng().uniform(5.0, 7.0);
                ctx.no_op(&format!("UNIFORM_{drawn:.3}")).send()?;
            }
            _ => {
                let quantity = ctx.quantity(name, dec!(10000) / ask)?;
                match quantity.is_zero() {
                    true => ctx.no_op("BELOW_ONE_LOT").send()?,
                    false => ctx.buy(name, quantity).send()?,
                };
                let mut order = [1, 2, 3, 4, 5, 6, 7];
                ctx.rng().shuffle(&mut order);
                let text: String = order.iter().map(ToString::to_string).collect();
                ctx.no_op(&text).send()?;
            }
        }
        Ok(())
    }
}

fn on_manual(ctx: &mut Context, signal: &ManualSignal) -> msup::Result {
    ctx.buy("BTCUSDT", 1).send()?;
    match signal.name.as_str() {
        "fail" => bail!("no"),
        "negative" => drop(ctx.buy("BTCUSDT", -1).send()?),
        "unknown" => drop(ctx.price("NOPE", 1.0, None)?),
        "many" => {
            for _ in 0..300 {
                ctx.no_op("X").send()?;
            }
        }
        "long" => drop(ctx.alert(&"x".repeat(65)).send()?),
        "state" => return Err(Error::state("gone")),
        "nameless" => drop(ctx.cancel(&"k".into()).send()?),
        _ => drop(ctx.no_op("WITH").risk(OWN_RISK).send()?),
    }
    Ok(())
}

// Proves: NN-1, NN-7, DM-3, GT-4, GT-5, RS-2
#[test]
fn the_same_conversation_has_the_same_answers_as_in_python() {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/everything.bin"
    ));
    let (answers, intents, faults) = golden::replay::<Everything>(path);
    assert!(
        answers > 200 && intents > 100 && faults > 10,
        "{answers} {intents} {faults}"
    );
}
