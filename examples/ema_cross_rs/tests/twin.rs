//! The same conversation must have the same answers as of `examples/ema_cross`, byte for byte.

#[path = "../../../wasmsdk/tests/support/golden.rs"]
mod golden;

use std::path::Path;

use ema_cross_rs::EmaCross;

// Proves: NN-1, NN-7, DOD-1
#[test]
fn the_same_events_give_the_same_intents_as_in_python() {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../wasmsdk/tests/golden/ema_cross.bin"
    ));
    let (answers, intents, faults) = golden::replay::<EmaCross>(path);
    assert!(
        answers > 1000 && intents > 50 && faults == 2,
        "{answers} {intents} {faults}"
    );
}
