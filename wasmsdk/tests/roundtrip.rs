//! Whatever can be said can be written and read back, and no bytes make a reader panic.

mod support;

use msup::error::ErrorClass;
use msup::event::Event;
use msup::frame::{Direction, PREFIX_BYTES, decode_frame, frame_bytes, peek_type};
use msup::intent::{Intent, IntentBody};
use msup::limits::MAX_DEPTH;
use msup::message::Message;
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Each, Random, seeded};

fn assert_round_trip(message: &Message) {
    let bytes = message.encode().expect("a valid message is written");
    let decoded = Message::decode(&bytes, Direction::FromAnyone).expect("what was written is read");
    assert_eq!(&decoded, message);
    assert_eq!(
        decoded.encode().expect("written again"),
        bytes,
        "the same value has the same bytes"
    );
    assert_eq!(peek_type(&bytes).expect("a type"), message.kind());
    let frame = message.encode_frame().expect("a valid frame");
    assert_eq!(frame[PREFIX_BYTES..], bytes);
    assert_eq!(
        frame_bytes(&frame[..frame.len().min(20)], Direction::FromAnyone),
        Ok(Some(frame.len()))
    );
    assert_eq!(
        decode_frame(&frame, Direction::FromAnyone),
        Ok(Some((decoded, frame.len())))
    );
    assert_eq!(
        decode_frame(&frame[..frame.len() - 1], Direction::FromAnyone),
        Ok(None)
    );
}

/// A message cut anywhere is refused, never read as something else.
fn assert_cut_refused(message: &Message) {
    let bytes = message.encode().expect("a valid message is written");
    for len in (0..bytes.len()).filter(|len| *len < 512 || bytes.len() - len < 64) {
        let error = Message::decode(&bytes[..len], Direction::FromAnyone).expect_err("a part of a message");
        assert_eq!(error.class(), ErrorClass::Truncated, "cut at {len}: {error}");
        assert!(error.offset() <= len);
    }
}

/// Replaces the head of the outermost array by one that promises `more` elements more, and appends these.
fn with_trailing(bytes: &[u8], more: usize, trailing: &[u8]) -> Vec<u8> {
    let (count, head) = match bytes[0] {
        0xdc => (usize::from(u16::from_be_bytes([bytes[1], bytes[2]])), 3),
        fix => (usize::from(fix & 0x0f), 1),
    };
    let count = u16::try_from(count + more).expect("a short array").to_be_bytes();
    [&[0xdc, count[0], count[1]], &bytes[head..], trailing].concat()
}

// Proves: BC-F, EV-1, DM-3, DM-4
#[test]
fn every_message_event_and_intent_round_trips() {
    for seed in 0..8 {
        let rng = &mut seeded(seed);
        for message in Message::each(rng) {
            assert_round_trip(&message);
            assert_cut_refused(&message);
        }
        for event in Event::each(rng) {
            let bytes = event.encode().expect("a valid event");
            assert_eq!(Event::decode(&bytes).as_ref(), Ok(&event));
        }
        for body in IntentBody::each(rng) {
            let intent = Intent {
                meta: Random::random(rng),
                body,
            };
            let bytes = intent.encode().expect("a valid intent");
            assert_eq!(Intent::decode(&bytes).as_ref(), Ok(&intent));
        }
    }
}

// Proves: BC-F
#[test]
fn unknown_trailing_fields_are_skipped_and_their_depth_is_bounded() {
    let rng = &mut seeded(1);
    for message in Message::each(rng) {
        let bytes = message.encode().expect("a valid message");
        // Everything that msgpack has: a float32, NaN, an ext, bytes that are no UTF-8, a timestamp, nested containers.
        let odd = [
            &[0xca, 0x7f, 0xc0, 0, 0][..],
            &[0xd4, 5, 0],
            &[0xa1, 0xff],
            &[0xd6, 0xff, 0, 0, 0, 0],
            &[0x82, 0x01, 0xc0, 0x90, 0x91, 0xc3],
        ]
        .concat();
        let decoded = Message::decode(&with_trailing(&bytes, 5, &odd), Direction::FromAnyone);
        assert_eq!(decoded.as_ref(), Ok(&message));

        let deepest = [vec![0x91; MAX_DEPTH - 2], vec![0x90]].concat();
        let decoded = Message::decode(&with_trailing(&bytes, 1, &deepest), Direction::FromAnyone);
        assert_eq!(decoded.as_ref(), Ok(&message), "{MAX_DEPTH} levels are allowed");
        let deeper = [vec![0x91; MAX_DEPTH - 1], vec![0x90]].concat();
        let refused = Message::decode(&with_trailing(&bytes, 1, &deeper), Direction::FromAnyone);
        assert_eq!(refused.map_err(|error| error.class()), Err(ErrorClass::TooDeep));

        let bomb = [0xdd, 0xff, 0xff, 0xff, 0xff];
        let refused = Message::decode(&with_trailing(&bytes, 1, &bomb), Direction::FromAnyone);
        assert_eq!(refused.map_err(|error| error.class()), Err(ErrorClass::Truncated));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    // Proves: BC-F
    #[test]
    fn random_messages_round_trip(seed: u64) {
        assert_round_trip(&Message::random(&mut seeded(seed)));
    }

    // Proves: BC-F
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        for from in [Direction::FromAnyone, Direction::FromRunner, Direction::FromPeer] {
            let _ = decode_frame(&bytes, from);
            if let Ok(message) = Message::decode(&bytes, from) {
                // What was taken can be written, and means the same.
                let written = message.encode().expect("what was read is written");
                prop_assert_eq!(Message::decode(&written, from), Ok(message));
            }
        }
        let _ = Event::decode(&bytes);
        let _ = Intent::decode(&bytes);
    }

    // Proves: BC-F
    #[test]
    fn damaged_messages_never_panic(seed: u64, damage in vec((any::<u32>(), any::<u8>()), 1..6)) {
        let mut bytes = Message::random(&mut seeded(seed)).encode().expect("a valid message");
        let len = bytes.len();
        for (at, byte) in damage {
            // The first bytes decide most; half of the damage goes there.
            let at = at as usize % if byte & 1 == 0 { len } else { len.min(64) };
            bytes[at] = byte;
        }
        match Message::decode(&bytes, Direction::FromAnyone) {
            Ok(message) => {
                let written = message.encode().expect("what was read is written");
                prop_assert_eq!(Message::decode(&written, Direction::FromAnyone), Ok(message));
            }
            Err(error) => prop_assert!(error.offset() <= len, "{}", error),
        }
    }
}
