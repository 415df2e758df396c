//! Replays what a supervisor and the Python SDK said to each other, and demands the same answers of a Rust strategy.

use std::path::Path;

use msup::frame::{Direction, decode_frame};
use msup::message::Message;
use msup::session::Session;
use msup::strategy::Strategy;

/// The frame at the front of a conversation, prefix included.
fn frame(bytes: &[u8]) -> &[u8] {
    let prefix = bytes.first_chunk::<4>().expect("a length");
    &bytes[..4 + u32::from_be_bytes(*prefix) as usize]
}

/// The answer without the texts of its fault, which each language words in its own way.
fn comparable(frame: &[u8]) -> Message {
    let (mut message, taken) = decode_frame(frame, Direction::FromRunner)
        .expect("an answer")
        .expect("whole");
    assert_eq!(taken, frame.len(), "more than one frame");
    let fault = match &mut message {
        Message::Answer(answer) => answer.fault.as_mut(),
        Message::BatchAnswer(batch) => batch.answer.fault.as_mut(),
        _ => None,
    };
    if let Some(fault) = fault {
        fault.message.clear();
        fault.traceback.clear();
    }
    message
}

/// Replays a file; how many answers, intents and faults were compared.
#[allow(unreachable_pub, reason = "a test file of its own for each strategy")]
pub fn replay<S: Strategy>(path: &Path) -> (usize, usize, usize) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut session = Session::<S>::new();
    let (mut rest, mut out) = (bytes.as_slice(), Vec::new());
    let (mut answers, mut intents, mut faults) = (0, 0, 0);
    while let Some((from, tail)) = rest.split_first() {
        let said = frame(tail);
        rest = &tail[said.len()..];
        if *from == b'S' {
            assert!(out.is_empty(), "a question without an answer");
            session.handle(&said[4..], &mut out).expect("a good question");
            continue;
        }
        let (expected, found) = (comparable(said), comparable(&out));
        assert_eq!(found, expected, "answer {answers}");
        let answer = match &found {
            Message::Answer(answer) => Some(answer),
            Message::BatchAnswer(batch) => Some(&batch.answer),
            _ => None,
        };
        if answer.is_none_or(|answer| answer.fault.is_none()) {
            assert_eq!(out, said, "the bytes of answer {answers}");
        }
        answers += 1;
        intents += answer.map_or(0, |answer| answer.intents.len());
        faults += answer.map_or(0, |answer| usize::from(answer.fault.is_some()));
        out.clear();
    }
    (answers, intents, faults)
}
