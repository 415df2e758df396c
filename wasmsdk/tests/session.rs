//! Callbacks, state, faults and bad frames, through the harness and through the native loop.

use msup::answer::StateUpdates;
use msup::testing::{DEFAULT_RISK, Harness, START_NS};
use msup::{
    Config, Context, Decimal, Event, Health, HealthLevel, Instrument, Nanos, RiskContext, State, Step,
    Strategy, bail, dec,
};

fn btc() -> Instrument {
    Instrument::of("BTCUSDT", dec!(0.01), dec!(0.001))
}

#[derive(Config, Clone)]
struct Every {
    #[config(default = 3, min = 1, max = 10)]
    every: i64,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Seen {
    seen: u64,
    drawn: f64,
    last: Option<Decimal>,
}

/// Counts quotes; every third one buys, a timer sells; trades do what their price says.
struct Counter {
    config: Every,
    state: Seen,
    restored: bool,
}

#[msup::strategy]
impl Strategy for Counter {
    type Config = Every;
    type State = Seen;

    fn on_init(ctx: &mut Context, config: Every, restored_state: Option<Seen>) -> msup::Result<Self> {
        let restored = restored_state.is_some();
        if !restored {
            ctx.set_timer_after("sell", Nanos::from_secs(10))?;
        }
        let state = restored_state.unwrap_or_default();
        Ok(Self {
            config,
            state,
            restored,
        })
    }

    fn on_event(&mut self, ctx: &mut Context, event: &Event) -> msup::Result {
        match event {
            Event::Quote(quote) => {
                self.state.seen += 1;
                self.state.drawn += ctx.rng().random();
                self.state.last = quote.bid;
                if let (Some(bid), 0) = (quote.bid, self.state.seen % self.config.every as u64) {
                    ctx.buy(&quote.market.instrument, dec!(0.001)).limit(bid).send()?;
                }
            }
            Event::Trade(trade) => {
                ctx.buy("BTCUSDT", 1).send()?;
                ctx.checkpoint();
                match trade.price.mantissa() {
                    1 => panic!("a panic at {}", trade.price),
                    2 => bail!("an error at {}", trade.price),
                    3 => drop("x".parse::<i64>()?),
                    4 => (0..250).try_for_each(|_| {
                        ctx.alert(&"x".repeat(64)).name(&"n".repeat(128)).send().map(drop)
                    })?,
                    5 => return Err(msup::Error::state("gone")),
                    _ => {}
                }
            }
            _ => {}
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

    fn on_healthcheck(&self, _: &Context) -> msup::Result<Health> {
        match self.state.seen {
            0 => Ok(Health::healthy()),
            1 => Ok(Health::degraded("slow")),
            2 => bail!("no"),
            3 => panic!("no"),
            _ => Ok(Health::failing("x".repeat(65))),
        }
    }
}

fn counter() -> Harness<Counter> {
    Harness::builder().instrument(btc()).start()
}

fn quote(h: &mut Harness<Counter>) -> msup::Answer {
    h.quote("BTCUSDT", dec!(64000.1), dec!(64000.12))
}

// Proves: DM-3, RS-2
#[test]
fn events_timers_and_restores() {
    let mut h = counter();
    assert_eq!(h.timers()["sell"], START_NS + Nanos::from_secs(10));
    let counts: Vec<usize> = (0..4).map(|_| quote(&mut h).intents.len()).collect();
    assert_eq!(counts, [0, 0, 1, 0]);
    let mut again = h.restore(&h.checkpoint());
    assert!(again.strategy().restored && !h.strategy().restored);
    assert_eq!(again.strategy().state, h.strategy().state);
    for _ in 0..5 {
        assert_eq!(quote(&mut h).intents, quote(&mut again).intents);
    }
    let (one, two) = (
        h.advance(Nanos::from_secs(25)),
        again.advance(Nanos::from_secs(25)),
    );
    assert_eq!(one.len(), 2);
    assert_eq!(
        one[1].intents[0].meta.name,
        format!("sell-{}", START_NS + Nanos::from_secs(20))
    );
    assert_eq!(
        one.iter().map(|answer| &answer.intents).collect::<Vec<_>>(),
        two.iter().map(|answer| &answer.intents).collect::<Vec<_>>()
    );
    assert_eq!(h.checkpoint(), again.checkpoint());
}

// Proves: SB-6, DM-3
#[test]
fn failures_become_faults_and_leave_nothing() {
    let mut h = Harness::<Counter>::builder()
        .instrument(btc())
        .raise_faults(false)
        .start();
    for (price, kind, text) in [
        (dec!(1), "exception", "panic: a panic at 1"),
        (dec!(2), "exception", "an error at 2"),
        (dec!(3), "exception", "invalid digit found in string"),
        (
            dec!(4),
            "bad_return",
            "at most 65536 are allowed: make fewer or smaller effects",
        ),
        (dec!(5), "state", "gone"),
    ] {
        let answer = h.trade("BTCUSDT", price, dec!(1), msup::Side::Buy);
        let fault = answer.fault.expect(text);
        assert_eq!(fault.kind, kind);
        assert!(fault.message.contains(text), "{}", fault.message);
        assert!(
            kind == "bad_return" || fault.traceback.contains("session.rs:"),
            "{}",
            fault.traceback
        );
        assert!(answer.intents.is_empty() && answer.state_updates.is_none());
        // The session goes on, and nothing of the faulted step is left over.
        let answer = h.trade("BTCUSDT", dec!(7), dec!(1), msup::Side::Buy);
        assert_eq!((answer.intents.len(), answer.fault), (1, None));
        let updates = Some(StateUpdates {
            checkpoint: true,
            delta: None,
        });
        assert_eq!(answer.state_updates, updates);
    }
}

// Proves: HR-1, AD-1, SB-6
#[test]
fn a_fault_in_on_init_bars_events_and_checkpoints() {
    let mut h = Harness::<Counter>::builder()
        .config("every", 0)
        .raise_faults(false)
        .start();
    let fault = h.init_answer().fault.clone().expect("refused");
    assert_eq!(
        (fault.kind.as_str(), fault.message.as_str()),
        ("config", "every: 0 is too small; at least 1 is allowed")
    );
    let fault = quote(&mut h).fault.expect("not ready");
    assert!(
        fault.message.contains("a quote before on_init has succeeded"),
        "{}",
        fault.message
    );
    let fault = h.try_checkpoint().expect_err("no state");
    assert_eq!(
        (
            fault.kind.as_str(),
            fault.message.contains("on_init has not succeeded")
        ),
        ("state", true)
    );
    assert_eq!(
        (h.health().health, h.health().tag.as_str()),
        (HealthLevel::Degraded, "not_initialised")
    );
}

// Proves: HR-1, HR-2, DOD-8
#[test]
fn a_configuration_that_does_not_fit_changes_nothing() {
    let mut h = Harness::<Counter>::builder()
        .instrument(btc())
        .raise_faults(false)
        .start();
    assert!(h.update_config("every", 1).is_empty());
    assert_eq!(quote(&mut h).intents.len(), 1);
    for (name, value, finding) in [
        (
            "every",
            msup::value::Value::from("x"),
            "every: \"x\" is a str; expected int",
        ),
        (
            "every",
            11.into(),
            "every: 11 is too large; at most 10 is allowed",
        ),
        (
            "evry",
            2.into(),
            "evry: unknown; known are every; every: 11 is too large",
        ),
    ] {
        let fault = h.update_config(name, value).fault.expect(finding);
        assert_eq!(fault.kind, "config");
        assert!(fault.message.contains(finding), "{}", fault.message);
    }
    assert_eq!(h.strategy().config.every, 1);
}

// Proves: DM-3
#[test]
fn a_health_check_is_no_step_and_its_failure_is_failing() {
    let mut h = counter();
    for (level, tag) in [
        (HealthLevel::Healthy, ""),
        (HealthLevel::Degraded, "slow"),
        (HealthLevel::Failing, "healthcheck_failed"),
        (HealthLevel::Failing, "healthcheck_failed"),
        (HealthLevel::Failing, "healthcheck_failed"),
    ] {
        let report = h.health();
        assert_eq!((report.health, report.tag.as_str()), (level, tag));
        quote(&mut h);
    }
}

#[test]
fn batches_stop_at_the_first_answer_that_is_not_empty() {
    let (mut one, mut many) = (counter(), counter());
    let events: Vec<(Nanos, Event)> = (1..=50)
        .map(|ms| {
            let market = one.market("BTCUSDT");
            let (bid, ask) = (Some(dec!(1)), Some(dec!(2)));
            let quote = msup::Quote {
                market,
                bid,
                bid_size: None,
                ask,
                ask_size: None,
            };
            (START_NS + Nanos::from_millis(ms), quote.into())
        })
        .collect();
    let batched = many.send_batch(&events, 16);
    let single = one.send_batch(&events, 1);
    let parts = |answers: &[msup::Answer]| -> Vec<_> {
        answers
            .iter()
            .map(|answer| (answer.step, answer.intents.clone()))
            .collect()
    };
    assert_eq!((batched.len(), parts(&batched)), (16, parts(&single)));
    assert_eq!(
        (one.step(), one.checkpoint().data),
        (many.step(), many.checkpoint().data)
    );
}

// --- the present and the metadata ---

struct Asking;

#[msup::strategy]
impl Strategy for Asking {
    fn risk_context() -> Option<RiskContext> {
        Some(RiskContext {
            budget: dec!(5),
            ..DEFAULT_RISK
        })
    }

    fn on_event(&mut self, ctx: &mut Context, _: &Event) -> msup::Result {
        assert_eq!(
            (ctx.now(), ctx.step(), ctx.run_id().as_str()),
            (START_NS, Step(2), "test-run")
        );
        assert_eq!(
            (
                ctx.bot().as_str(),
                ctx.strategy().as_str(),
                ctx.instance().as_str()
            ),
            ("test-bot", "asking", "test")
        );
        assert_eq!(
            (ctx.trace_id().as_str(), ctx.restored(), ctx.instruments().len()),
            ("trace-2", false, 1)
        );
        let once = ctx.alert("X").name("once").send()?;
        let order = ctx.cancel(&once).send()?; // the only instrument may be left out
        assert_ne!(once, order);
        Ok(())
    }
}

// Proves: GT-4, BC-A, BC-J
#[test]
fn metadata_is_filled_in() {
    let mut h = Harness::<Asking>::builder().instrument(btc()).start();
    let answer = h.quote("BTCUSDT", dec!(1), dec!(2));
    let meta = &answer.intents[1].meta;
    assert_eq!(
        (meta.trace_id.as_str(), meta.strategy_version.as_str()),
        ("trace-2", "0.0.0")
    );
    assert_eq!(
        meta.risk_context.as_ref().expect("the strategy's").budget,
        dec!(5)
    );
    assert!(meta.key.is_valid());
    assert_eq!(answer.intents[0].meta.name, "once");
}
