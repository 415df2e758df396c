//! How MarketMaker quotes, without a supervisor.

use market_maker::{Leg, MarketMaker};
use msup::testing::{Builder, Harness};
use msup::{
    Answer, Cursor, Decimal, Execution, ExecutionReport, ExecutionSnapshot, Instrument, Intent, IntentBody,
    IntentsDiscarded, Key, Nanos, OpenOrder, OrderType, Position, Side, dec,
};

const SYN: &str = "SYN-A.SIM";

fn builder() -> Builder<MarketMaker> {
    let instrument = Instrument::of(SYN, dec!(0.01), dec!(1));
    let builder = Harness::builder().instrument(instrument).config("inventory", 2);
    builder.config("spread_bp", 20).config("notional", 1000)
}

fn quote(h: &mut Harness<MarketMaker>, mid: Decimal) -> Answer {
    let bid = (mid - dec!(0.01)).exact().expect("fits");
    let ask = (mid + dec!(0.01)).exact().expect("fits");
    h.after(Nanos::SECOND).quote(SYN, bid, ask)
}

/// Both orders of the first quote, accepted.
fn started() -> (Harness<MarketMaker>, Intent, Intent) {
    let mut h = builder().start();
    let answer = quote(&mut h, dec!(100));
    let [bid, ask] = answer.intents.try_into().expect("two orders");
    (h, bid, ask)
}

fn leg(h: &Harness<MarketMaker>) -> &Leg {
    &h.strategy().state.legs[SYN]
}

fn order(intent: &Intent) -> (Side, Decimal, Decimal, bool) {
    match &intent.body {
        IntentBody::Order(order) => {
            assert_eq!(order.order_type, OrderType::Limit);
            (
                order.side,
                order.quantity,
                order.limit_price.expect("a limit"),
                order.post_only,
            )
        }
        other => panic!("{other:?}"),
    }
}

fn amended(intent: &Intent) -> (&Key, Decimal) {
    match &intent.body {
        IntentBody::Amend(amend) => (&amend.target_key, amend.limit_price.expect("a limit")),
        other => panic!("{other:?}"),
    }
}

// Proves: DM-4, NN-5
#[test]
fn both_sides_are_quoted_around_the_mid_price() {
    let (h, bid, ask) = started();
    assert_eq!(order(&bid), (Side::Buy, dec!(10), dec!(99.9), true));
    assert_eq!(order(&ask), (Side::Sell, dec!(10), dec!(100.1), true));
    assert_eq!(h.timers().len(), 1);
}

// Proves: DM-4
#[test]
fn quotes_follow_the_market_one_change_at_a_time() {
    let (mut h, bid, ask) = started();
    assert!(quote(&mut h, dec!(100)).is_empty(), "nothing moved");
    let moves = quote(&mut h, dec!(101)).intents;
    assert_eq!(amended(&moves[0]), (&bid.meta.key, dec!(100.89)));
    assert_eq!(amended(&moves[1]), (&ask.meta.key, dec!(101.11)));
    assert!(quote(&mut h, dec!(102)).is_empty(), "both amends are under way");
    h.send(Execution {
        report: ExecutionReport::Amended,
        is_final: false,
        ..h.report(&bid.meta.key)
    });
    // The other one is refused, under the key of the amend.
    h.send(Execution {
        report: ExecutionReport::Rejected,
        ..h.report(&moves[1].meta.key)
    });
    assert_eq!(
        (leg(&h).bid.price, leg(&h).ask.price),
        (dec!(100.89), dec!(100.1))
    );
    assert_eq!(quote(&mut h, dec!(102)).intents.len(), 2);
}

// Proves: DM-3
#[test]
fn at_the_limit_one_side_is_taken_back() {
    let (mut h, bid, _) = started();
    h.fill(&bid, dec!(99.9));
    let answer = quote(&mut h, dec!(100));
    // Half full: quoted lower by half of half the spread.
    assert_eq!(
        order(&answer.intents[0]),
        (Side::Buy, dec!(10), dec!(99.85), true)
    );
    assert_eq!(amended(&answer.intents[1]).1, dec!(100.05));
    let again = answer.intents[0].clone();
    h.send(Execution {
        quantity: Some(dec!(5)),
        price: Some(dec!(99.85)),
        remaining: Some(dec!(5)),
        is_final: false,
        ..h.report(&again.meta.key)
    });
    assert_eq!(leg(&h).position, dec!(15));
    let intents = quote(&mut h, dec!(100)).intents;
    let cancel = intents.iter().find_map(|intent| match &intent.body {
        IntentBody::Cancel(cancel) => Some(cancel),
        _ => None,
    });
    assert_eq!(
        cancel.expect("15 + 10 is more than 20").target_key,
        again.meta.key
    );
    h.send(Execution {
        report: ExecutionReport::Canceled,
        ..h.report(&again.meta.key)
    });
    assert!(
        quote(&mut h, dec!(100)).is_empty(),
        "no bid, and the ask's amend is under way"
    );
}

// Proves: DM-3
#[test]
fn silence_takes_both_orders_back() {
    let (mut h, ..) = started();
    h.after(Nanos::from_secs(10));
    quote(&mut h, dec!(100));
    let fired = h.advance(Nanos::from_secs(25));
    assert!(fired[0].intents.is_empty(), "a quote came meanwhile");
    let fired = h.advance(Nanos::from_secs(10));
    let kinds: Vec<_> = fired[0]
        .intents
        .iter()
        .map(|intent| intent.kind().as_str())
        .collect();
    assert_eq!(kinds, ["cancel", "cancel"]);
    assert!(h.timers().is_empty());
}

#[test]
fn a_stop_takes_both_orders_back() {
    let (mut h, ..) = started();
    assert_eq!(h.shutdown("STOP").intents.len(), 2);
    assert!(h.shutdown("STOP").intents.is_empty(), "once is enough");
}

#[test]
fn discarded_intents_are_asked_for_again() {
    let (mut h, bid, ask) = started();
    let discard = |h: &mut Harness<MarketMaker>, keys: Vec<Key>| {
        h.send(IntentsDiscarded {
            discarded_step: h.step(),
            keys,
            reason: "ANSWER_LATE".into(),
        })
    };
    discard(&mut h, vec![bid.meta.key]);
    let again = quote(&mut h, dec!(100)).intents;
    assert_eq!((again.len(), order(&again[0]).0), (1, Side::Buy));
    let moves = quote(&mut h, dec!(101)).intents;
    discard(&mut h, vec![moves[1].meta.key.clone()]);
    let moves = quote(&mut h, dec!(101)).intents;
    assert_eq!((moves.len(), amended(&moves[0]).0), (1, &ask.meta.key));
}

#[test]
fn a_snapshot_replaces_positions_and_orders() {
    let (mut h, _, ask) = started();
    h.send(ExecutionSnapshot {
        event_ts: h.now(),
        recv_ts: h.now(),
        positions: vec![Position {
            instrument: SYN.into(),
            quantity: dec!(-20),
        }],
        open: vec![OpenOrder {
            key: ask.meta.key.clone(),
            remaining: dec!(10),
        }],
        cursor: Cursor {
            source: "I".into(),
            source_epoch: 1,
            seq: 1,
        },
    });
    let intents = quote(&mut h, dec!(100)).intents;
    assert_eq!(order(&intents[0]).0, Side::Buy);
    assert!(matches!(&intents[1].body, IntentBody::Cancel(cancel) if cancel.target_key == ask.meta.key));
}

#[test]
fn a_notional_below_one_lot_is_told_and_not_quoted() {
    let mut h = builder().config("notional", 50).start();
    assert!(matches!(
        quote(&mut h, dec!(100)).intents[0].body,
        IntentBody::Alert(_)
    ));
    assert!(quote(&mut h, dec!(100)).is_empty());
}

// Proves: NN-3, ST-1, NN-7
#[test]
fn a_restored_strategy_goes_on_as_if_nothing_had_happened() {
    let (mut straight, mut broken) = (builder().start(), builder().start());
    let mut wanted = 0;
    for step in 0..200_i32 {
        if step % 7 == 0 {
            broken = broken.restore(&broken.checkpoint());
        }
        let mid = (dec!(100) + Decimal::from((step * step) % 37) * dec!(0.01))
            .exact()
            .expect("fits");
        let (expected, got) = (quote(&mut straight, mid), quote(&mut broken, mid));
        assert_eq!((&got.intents, &got.timers), (&expected.intents, &expected.timers));
        for intent in &expected.intents {
            wanted += 1;
            for h in [&mut straight, &mut broken] {
                match &intent.body {
                    IntentBody::Order(_) if step % 3 == 0 => drop(h.fill(intent, mid)),
                    IntentBody::Amend(amend) => {
                        h.send(Execution {
                            report: ExecutionReport::Amended,
                            is_final: false,
                            ..h.report(&amend.target_key)
                        });
                    }
                    IntentBody::Cancel(cancel) => {
                        h.send(Execution {
                            report: ExecutionReport::Canceled,
                            ..h.report(&cancel.target_key)
                        });
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(wanted > 50, "{wanted}");
    assert_eq!(broken.checkpoint(), straight.checkpoint());
}
