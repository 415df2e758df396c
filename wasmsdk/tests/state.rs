//! What a state may be made of, and its versions.

use std::collections::BTreeMap;

use msup::testing::{Checkpoint, Harness, START_NS};
use msup::{Context, Decimal, Event, Nanos, State, Strategy, dec};

#[derive(State, Default)]
struct Seen {
    seen: u64,
}

struct Counting {
    state: Seen,
}

#[msup::strategy]
impl Strategy for Counting {
    type State = Seen;

    fn on_event(&mut self, _: &mut Context, _: &Event) -> msup::Result {
        self.state.seen += 1;
        Ok(())
    }
}

#[derive(State, Default)]
#[state(version = 2)]
struct Totals {
    totals: Vec<u32>,
}

struct Migrating(Totals);

#[msup::strategy]
impl Strategy for Migrating {
    type State = Totals;

    fn on_init(_: &mut Context, _: msup::NoConfig, restored_state: Option<Totals>) -> msup::Result<Self> {
        Ok(Self(restored_state.unwrap_or_default()))
    }

    fn state(&self) -> &Totals {
        &self.0
    }

    fn migrate(from_version: u32, data: &[u8]) -> msup::Result<Totals> {
        let old = Seen::load_state(data)?;
        Ok(Totals {
            totals: vec![old.seen as u32, from_version],
        })
    }
}

/// Without `migrate`.
struct Rigid {
    state: Totals,
}

#[msup::strategy]
impl Strategy for Rigid {
    type State = Totals;

    fn on_init(_: &mut Context, _: msup::NoConfig, restored_state: Option<Totals>) -> msup::Result<Self> {
        let state = restored_state.unwrap_or_default();
        Ok(Self { state })
    }
}

// Proves: ST-5, AD-2
#[test]
fn older_states_are_migrated_and_strange_ones_refused() {
    let mut h = Harness::<Counting>::builder().start();
    h.quote("B", dec!(1), dec!(2));
    let old = h.checkpoint();
    assert_eq!(old.state_version, 1);
    let migrated = Harness::<Migrating>::builder()
        .start()
        .restore_as::<Migrating>(&old);
    assert_eq!(migrated.strategy().0.totals, [1, 1]);
    assert_eq!(migrated.checkpoint().state_version, 2);
    let at = |state_version, data: &[u8]| Checkpoint {
        state_version,
        data: data.to_vec(),
        ..old.clone()
    };
    for (checkpoint, cause) in [
        (old.clone(), "there is no migrate()"),
        (at(9, b"\x80"), "schema version 9, this strategy knows 2"),
        (at(2, b"\xc1"), "are no Totals"),
        (at(2, b"\x81\xa1x\x01"), "there is no field \"x\""),
        (at(2, b"\x81\xa6totals\xdd\xff\xff\xff\xff"), "promised"),
        (at(2, b""), "0 bytes are no Totals"),
    ] {
        let quiet = Harness::<Rigid>::builder().raise_faults(false).start();
        let fault = quiet
            .restore(&checkpoint)
            .init_answer()
            .fault
            .clone()
            .expect(cause);
        assert_eq!(fault.kind, "state");
        assert!(fault.message.contains(cause), "{}", fault.message);
    }
}

#[derive(State, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Idle,
    Open,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Rich {
    flags: BTreeMap<(String, u8), Option<Phase>>,
    rings: [std::collections::VecDeque<f64>; 2],
    raw: Vec<u8>,
    small: (i8, i16, i32, isize),
    phases: std::collections::BTreeSet<Phase>,
    boxed: Box<Decimal>,
    side: Option<msup::Side>,
    key: msup::Key,
    when: Nanos,
}

// Proves: ST-1, NN-3
#[test]
fn a_state_comes_back_as_it_was_and_its_bytes_are_always_the_same() {
    let rich = Rich {
        flags: BTreeMap::from([
            (("b".to_owned(), 2), Some(Phase::Open)),
            (("a".to_owned(), 9), None),
        ]),
        rings: [[1.5, -0.0, f64::INFINITY].into(), [].into()],
        raw: vec![0, 255, 7],
        small: (-8, -300, 70_000, -1),
        phases: [Phase::Open, Phase::Idle].into(),
        boxed: Box::new(dec!(1.25)),
        side: Some(msup::Side::Sell),
        key: "k".repeat(32).into(),
        when: START_NS,
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    rich.save_state(&mut one).expect("it can be written");
    let again = Rich::load_state(&one).expect("it can be read");
    assert_eq!(again, rich);
    again.save_state(&mut two).expect("it can be written");
    assert_eq!(one, two);
    assert!(
        one.windows(3).any(|bytes| bytes == [0xc4, 3, 0]),
        "bytes are a bin"
    );
    for cut in 0..one.len() {
        assert!(Rich::load_state(&one[..cut]).is_err(), "{cut}");
    }
    assert_eq!(Rich::load_state(b"\x80").expect("defaults"), Rich::default());
    assert!(Rich::load_state(b"\x81\xa6phases\x91\xa4Gone").is_err());
    assert!(Rich::load_state(b"\x80\x80").is_err(), "bytes after the end");
}
