//! How EmaCross decides, without a supervisor: the harness drives it through the runner's own code and bytes.

use ema_cross_rs::EmaCross;
use msup::testing::{Builder, Harness};
use msup::{
    Answer, Cursor, Decimal, Execution, ExecutionReport, ExecutionSnapshot, Instrument, Intent, IntentBody,
    IntentsDiscarded, Nanos, OrderIntent, OrderType, Position, Side, dec,
};

fn syn() -> Instrument {
    Instrument::of("SYN-A.SIM", dec!(0.01), dec!(1))
}

fn builder(instrument: Instrument) -> Builder<EmaCross> {
    Harness::builder()
        .config("fast", 2)
        .config("slow", 6)
        .instrument(instrument)
}

fn make() -> Harness<EmaCross> {
    builder(syn()).start()
}

fn quote_of(h: &mut Harness<EmaCross>, instrument: &Instrument, mid: Decimal) -> Answer {
    let bid = (mid - instrument.tick).exact().expect("fits");
    let ask = (mid + instrument.tick).exact().expect("fits");
    h.after(Nanos::SECOND).quote(instrument, bid, ask)
}

fn quote(h: &mut Harness<EmaCross>, mid: i32) -> Answer {
    quote_of(h, &syn(), mid.into())
}

/// Quotes until the strategy wants something; a strategy that stays silent fails the test.
fn until_intent(h: &mut Harness<EmaCross>, mids: impl IntoIterator<Item = i32>) -> Intent {
    for mid in mids.into_iter().take(50) {
        if let Some(intent) = quote(h, mid).intents.pop() {
            return intent;
        }
    }
    panic!("no intent");
}

/// Flat until both averages have seen enough, then up.
fn buy(h: &mut Harness<EmaCross>) -> Intent {
    until_intent(h, std::iter::repeat_n(100, 7).chain(101..200))
}

fn order(intent: &Intent) -> &OrderIntent {
    match &intent.body {
        IntentBody::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

// Proves: DM-3, NN-5
#[test]
fn a_rise_is_bought_for_the_notional_in_whole_lots() {
    let intent = buy(&mut make());
    let body = order(&intent);
    assert_eq!((body.side, body.order_type), (Side::Buy, OrderType::Market));
    assert_eq!(body.quantity, dec!(49)); // 5000 / 101.01, rounded down to the lot
    assert!(intent.meta.risk_context.is_some());
}

#[test]
fn the_size_follows_from_the_instrument() {
    for (instrument, mid, quantity) in [
        (
            Instrument::of("BTCUSDT.BINANCE", dec!(0.01), dec!(0.00001)),
            dec!(61000),
            dec!(0.08196),
        ),
        (
            Instrument::of("EURUSD.FXCM", dec!(0.00001), dec!(1000)),
            dec!(1.39),
            dec!(3000),
        ),
    ] {
        let mut h = builder(instrument.clone()).start();
        for _ in 0..7 {
            quote_of(&mut h, &instrument, mid);
        }
        let up = (mid + instrument.tick).exact().expect("fits");
        let answer = quote_of(&mut h, &instrument, up);
        assert_eq!(order(&answer.intents[0]).quantity, quantity);
    }
}

#[test]
fn nothing_happens_before_the_slow_average_is_filled() {
    let mut h = builder(syn()).config("slow", 60).start();
    assert!((100..160).all(|mid| quote(&mut h, mid).is_empty()));
    assert_eq!(quote(&mut h, 160).intents.len(), 1);
}

#[test]
fn a_fall_sells_what_was_filled_and_no_more() {
    let mut h = make();
    let key = buy(&mut h).meta.key;
    h.send(Execution {
        price: Some(dec!(101)),
        quantity: Some(dec!(20)),
        remaining: Some(dec!(29)),
        is_final: false,
        ..h.report(&key)
    });
    h.send(Execution {
        report: ExecutionReport::Canceled,
        remaining: Some(dec!(29)),
        ..h.report(&key)
    });
    let sale = until_intent(&mut h, (1..=60).rev());
    let body = order(&sale);
    assert_eq!(
        (body.side, body.quantity, body.reduce_only),
        (Side::Sell, dec!(20), true)
    );
    h.fill(&sale, dec!(60));
    assert_eq!(h.strategy().state.legs["SYN-A.SIM"].position, Decimal::ZERO);
}

#[test]
fn one_order_at_a_time() {
    let mut h = make();
    buy(&mut h);
    assert!(
        [200, 10, 200, 10]
            .into_iter()
            .all(|mid| quote(&mut h, mid).is_empty())
    );
}

// Proves: DM-3
#[test]
fn a_discarded_order_is_asked_for_again_after_the_pause() {
    let mut h = make();
    let key = buy(&mut h).meta.key;
    h.send(IntentsDiscarded {
        discarded_step: h.step(),
        keys: vec![key.clone()],
        reason: "ANSWER_LATE".into(),
    });
    assert!((0..28).all(|_| quote(&mut h, 150).is_empty()));
    assert_ne!(until_intent(&mut h, [200; 3]).meta.key, key);
}

#[test]
fn a_rejected_order_is_asked_for_again_after_the_pause() {
    let mut h = builder(syn()).config("pause_s", 5).start();
    let key = buy(&mut h).meta.key;
    h.send(Execution {
        report: ExecutionReport::Rejected,
        ..h.report(&key)
    });
    assert!(quote(&mut h, 150).is_empty());
    assert_ne!(until_intent(&mut h, [200; 10]).meta.key, key);
}

#[test]
fn crossed_and_one_sided_quotes_are_not_averaged() {
    let mut h = make();
    quote(&mut h, 100);
    let before = h.checkpoint().data;
    h.quote(syn(), dec!(500), dec!(499));
    h.quote(syn(), dec!(500), None);
    assert_eq!(h.checkpoint().data, before);
}

#[test]
fn a_notional_below_one_lot_is_told_and_not_traded() {
    let mut h = builder(syn()).config("notional", 50).start();
    assert!(matches!(buy(&mut h).body, IntentBody::Alert(_)));
    assert!(quote(&mut h, 200).is_empty());
}

#[test]
fn a_price_of_zero_is_a_fault() {
    let mut h = builder(syn()).raise_faults(false).start();
    for bid in [-9; 7] {
        h.quote(syn(), Decimal::from(bid), Decimal::ZERO);
    }
    let fault = h
        .quote(syn(), Decimal::ZERO, Decimal::ZERO)
        .fault
        .expect("nothing to divide by");
    assert!(
        fault.message.contains("there is no quantity"),
        "{}",
        fault.message
    );
}

#[test]
fn a_snapshot_replaces_position_and_order() {
    let mut h = make();
    buy(&mut h);
    h.send(ExecutionSnapshot {
        event_ts: h.now(),
        recv_ts: h.now(),
        positions: vec![Position {
            instrument: syn().id,
            quantity: dec!(7),
        }],
        open: Vec::new(),
        cursor: Cursor {
            source: "I".into(),
            source_epoch: 1,
            seq: 9,
        },
    });
    assert_eq!(order(&until_intent(&mut h, (1..=60).rev())).quantity, dec!(7));
}

// Proves: HR-1
#[test]
fn lengths_that_cannot_cross_are_refused() {
    let h = builder(syn()).config("fast", 6).raise_faults(false).start();
    let fault = h.init_answer().fault.clone().expect("refused");
    assert!(fault.message.contains("must be below slow"), "{}", fault.message);
    let mut h = builder(syn()).raise_faults(false).start();
    assert!(h.update_config("slow", 2).fault.is_some());
}

// Proves: NN-3, ST-1
#[test]
fn a_restored_strategy_goes_on_as_if_nothing_had_happened() {
    let (mut straight, mut broken) = (make(), make());
    let mut wanted = 0;
    for step in 0..120 {
        if step % 10 == 0 {
            broken = broken.restore(&broken.checkpoint());
        }
        let mid = 100 + (step * step) % 37;
        let (expected, got) = (quote(&mut straight, mid), quote(&mut broken, mid));
        assert_eq!(got.intents, expected.intents);
        for intent in &expected.intents {
            wanted += 1;
            straight.fill(intent, mid.into());
            broken.fill(intent, mid.into());
        }
    }
    assert!(wanted > 5, "{wanted}");
    assert_eq!(broken.checkpoint().data, straight.checkpoint().data);
    assert_eq!(straight.strategy().state.legs["SYN-A.SIM"].quotes, 120);
}
