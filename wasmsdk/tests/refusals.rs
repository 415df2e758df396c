//! Refusals name their class, field and offset; what a reader would refuse is not written.

mod support;

use msup::answer::{Answer, BatchAnswer, StateUpdates, Telemetry, TelemetryValue, TimerOp, TimerRequest};
use msup::error::{DecodeError, EncodeError, ErrorClass};
use msup::event::{Event, ManualSignal, Shutdown};
use msup::frame::{Direction, decode_frame, frame_bytes};
use msup::id::{Key, Nanos, Step, TraceId};
use msup::intent::{Intent, IntentBody, OrderIntent, Side, Status};
use msup::limits::{MAX_FRAME_BYTES, MAX_ID_BYTES, MAX_INTENTS, MAX_TAG_BYTES};
use msup::market::Quality;
use msup::message::{Chunk, Deliver, Message, MessageType, Stop};
use msup::value::{Value, Values};
use support::{Random, seeded};

fn order() -> Intent {
    let rng = &mut seeded(3);
    Intent {
        meta: Random::random(rng),
        body: IntentBody::Order(Random::random(rng)),
    }
}

fn write(answer: Answer) -> EncodeError {
    Message::from(answer)
        .encode()
        .expect_err("no reader would take it")
}

fn read(bytes: &[u8]) -> DecodeError {
    Message::decode(bytes, Direction::FromAnyone).expect_err("refused")
}

fn with_intent(change: impl FnOnce(&mut Intent)) -> Answer {
    let mut intent = order();
    change(&mut intent);
    Answer {
        intents: vec![order(), intent],
        ..Answer::empty(1, Step(1))
    }
}

fn values(values: Values) -> Message {
    let signal = ManualSignal {
        event_ts: Nanos(0),
        recv_ts: Nanos(0),
        operator: "ada".to_owned(),
        name: "bias".to_owned(),
        values,
    };
    let (seq, step, processed_ts, trace_id) = (1, Step(1), Nanos(0), TraceId::default());
    Message::from(Deliver {
        seq,
        step,
        processed_ts,
        trace_id,
        event: Event::from(signal),
    })
}

// Proves: BC-F
#[test]
fn a_refusal_says_where_and_why() {
    // An answer whose second timer has operation 3.
    let bytes = [
        0x99, 3, 1, 1, 0x90, 0xc0, 0x92, 0x93, 1, 0xa1, b't', 0, 0x93, 3, 0xa1, b'u', 0, 0x90, 0x90, 0xc0,
    ];
    let error = read(&bytes);
    assert_eq!(
        (error.class(), error.field(), error.offset()),
        (ErrorClass::Range, "answer.timers[1].op", 13)
    );
    assert_eq!(
        error.to_string(),
        "decode answer.timers[1].op at byte 13: range: there is no timer operation 3"
    );
    let error = read(&[0x93, 11, 1, 0xc1]);
    assert_eq!(
        (error.class(), error.field(), error.offset()),
        (ErrorClass::Invalid, "(unknown field)", 3)
    );
    let error = read(&[]);
    assert_eq!(
        (error.class(), error.field(), error.offset()),
        (ErrorClass::Truncated, "", 0)
    );
    let error = read(&[0x92, 12, 1]);
    assert_eq!(
        (error.class(), error.field(), error.offset()),
        (ErrorClass::UnknownType, "type", 1)
    );
}

// Proves: BC-F, DM-3
#[test]
fn nothing_over_its_limit_is_written() {
    let long = "x".repeat(MAX_ID_BYTES + 1);
    let error = write(with_intent(|intent| intent.meta.key = Key::from(long.clone())));
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::TooLong, "answer.intents[1].meta.key")
    );
    assert_eq!(
        error.to_string(),
        "encode answer.intents[1].meta.key: too_long: 129; at most 128 are allowed"
    );

    let error = write(Answer {
        intents: vec![order(); MAX_INTENTS + 1],
        ..Answer::empty(1, Step(1))
    });
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::TooMany, "answer.intents")
    );

    let timer = TimerRequest {
        op: TimerOp::Set,
        timer_id: "t".repeat(MAX_TAG_BYTES + 1),
        due_ts: Nanos(0),
    };
    let error = write(Answer {
        timers: vec![timer],
        ..Answer::empty(1, Step(1))
    });
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::TooLong, "answer.timers[0].timer_id")
    );

    let telemetry = Telemetry {
        name: "t".to_owned(),
        value: TelemetryValue::Number(f64::NAN),
    };
    let error = write(Answer {
        telemetry: vec![telemetry],
        ..Answer::empty(1, Step(1))
    });
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::Float, "answer.telemetry[0].value")
    );

    let delta = [(long.clone(), None)].into();
    let updates = StateUpdates {
        checkpoint: false,
        delta: Some(delta),
    };
    let error = write(Answer {
        state_updates: Some(updates),
        ..Answer::empty(1, Step(1))
    });
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::TooLong, "answer.state_updates.delta")
    );

    let error = values([("a".to_owned(), Value::Float(f64::INFINITY))].into())
        .encode()
        .expect_err("infinite");
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::Float, "deliver.event.manual_signal.values[\"a\"]")
    );
    let text = Value::Str("x".repeat(4097));
    let error = values([("a".to_owned(), text)].into())
        .encode()
        .expect_err("too long");
    assert_eq!(error.class(), ErrorClass::TooLong);
    let many = (0..1025).map(|number| (number.to_string(), Value::Nil)).collect();
    let error = values(many).encode().expect_err("too many");
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::TooMany, "deliver.event.manual_signal.values")
    );

    let chunk = Chunk {
        seq: 1,
        offset: 0,
        total: 1,
        state_version: 1,
        data: vec![0; (1 << 20) + 1],
    };
    let error = Message::from(chunk).encode().expect_err("too long");
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::TooLong, "chunk.data")
    );
}

// Proves: BC-F, DM-4
#[test]
fn what_the_contract_forbids_is_not_written() {
    let error = write(with_intent(|intent| {
        let side = Side::Unknown;
        if let IntentBody::Order(order) = &mut intent.body {
            *order = OrderIntent {
                side,
                ..order.clone()
            };
        }
    }));
    assert_eq!(
        (error.class(), error.field()),
        (ErrorClass::Range, "answer.intents[1].order.side")
    );
    for consumed in [0, 4097] {
        let answer = BatchAnswer {
            consumed,
            answer: Answer::empty(1, Step(1)),
        };
        let error = Message::from(answer).encode().expect_err("out of range");
        assert_eq!(
            (error.class(), error.field()),
            (ErrorClass::Range, "batch_answer.consumed")
        );
    }
}

// Proves: BC-F
#[test]
fn a_frame_is_judged_by_its_head() {
    let stop = Message::from(Stop { seq: 1 }).encode_frame().expect("a frame");
    let mut stream = stop.clone();
    stream.extend(&stop);
    for len in 0..stop.len() {
        assert_eq!(
            decode_frame(&stream[..len], Direction::FromSupervisor),
            Ok(None),
            "{len} bytes"
        );
    }
    let (message, taken) = decode_frame(&stream, Direction::FromSupervisor)
        .expect("legal")
        .expect("whole");
    assert_eq!((message.kind(), taken), (MessageType::Stop, stop.len()));

    // The head alone is enough to refuse a frame; what it promises never has to arrive.
    let class = |prefix: u32, head: &[u8], from| {
        let stream = [&prefix.to_be_bytes(), head].concat();
        frame_bytes(&stream, from).map_err(|error| error.class())
    };
    let answer = |prefix| class(prefix, &[0x99, 3], Direction::FromRunner);
    assert_eq!(answer(64 << 10), Ok(Some(4 + (64 << 10))));
    assert_eq!(answer((64 << 10) + 1), Err(ErrorClass::FrameTooLarge));
    let chunk = |prefix| class(prefix, &[0x96, 8], Direction::FromRunner);
    assert_eq!(chunk((1 << 20) + 64), Ok(Some(4 + (1 << 20) + 64)));
    assert_eq!(chunk((1 << 20) + 65), Err(ErrorClass::FrameTooLarge));
    let most = u32::try_from(MAX_FRAME_BYTES).expect("16 MiB");
    assert_eq!(
        class(most, &[0x96, 8], Direction::FromSupervisor),
        Ok(Some(4 + MAX_FRAME_BYTES))
    );
    assert_eq!(
        class(most + 1, &[], Direction::FromSupervisor),
        Err(ErrorClass::FrameTooLarge)
    );
    assert_eq!(
        class(0, &[], Direction::FromSupervisor),
        Err(ErrorClass::FrameEmpty)
    );
    assert_eq!(
        class(9, &[0x92, 11], Direction::FromRunner),
        Err(ErrorClass::Direction)
    );
}

// Proves: BC-F
#[test]
fn only_m_makes_the_events_of_m() {
    let event = Event::from(Shutdown { reason: "x".into() });
    let source = msup::boundary::SourceEvent {
        event,
        ..Random::random(&mut seeded(1))
    };
    let bytes = Message::from(source).encode().expect("a message");
    assert_eq!(
        Message::decode(&bytes, Direction::FromPeer).map_err(|error| error.class()),
        Err(ErrorClass::Direction)
    );
    assert!(
        Message::decode(&bytes, Direction::FromAnyone).is_ok(),
        "what M has stored is read"
    );
}

// Proves: GT-7
#[test]
fn statuses_follow_their_table() {
    use Status::{Approved, Committed, Expired, NotSeen, Offered, Rejected, Staged, Withdrawn};
    let all = [
        NotSeen, Staged, Approved, Offered, Committed, Rejected, Expired, Withdrawn,
    ];
    for (status, next) in [
        (NotSeen, &[Staged][..]),
        (Staged, &[Approved, Expired, Withdrawn]),
        (Approved, &[Offered, Committed, Rejected, Expired, Withdrawn]),
        (Offered, &[Committed, Rejected, Expired]),
        (Committed, &[]),
        (Rejected, &[]),
        (Expired, &[]),
        (Withdrawn, &[]),
    ] {
        for other in all {
            assert_eq!(
                status.can_become(other),
                next.contains(&other),
                "{status} to {other}"
            );
        }
        assert_eq!(status.is_terminal(), next.is_empty(), "{status}");
    }
}

// Proves: DQ-1
#[test]
fn quality_flags_have_names() {
    let both = Quality(Quality::STALE.0 | Quality::WARMUP.0);
    assert_eq!(
        (
            both.to_string(),
            Quality(0).to_string(),
            Quality(0xa0).to_string()
        ),
        ("stale|warmup".into(), "ok".into(), "crossed|0x80".into())
    );
    assert!(both.contains(Quality::WARMUP) && !both.contains(Quality::GAP));
}
