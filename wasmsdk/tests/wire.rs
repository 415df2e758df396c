//! The session on the wire: the native loop, bad frames, the guest's buffer, the description.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use msup::export::Guest;
use msup::frame::{Direction, decode_frame};
use msup::message::{CheckpointRequest, Healthcheck, Message, Stop};
use msup::runner::serve;
use msup::session::Session;
use msup::testing::Harness;
use msup::{Config, Context, Health, Step, Strategy};

const HASH: &str = "abababababababababababababababababababababababababababababababab";

#[derive(Config, Clone)]
struct Every {
    #[config(default = 3, min = 1, max = 10)]
    every: i64,
}

struct Counter {
    config: Every,
}

#[msup::strategy]
impl Strategy for Counter {
    type Config = Every;

    fn on_healthcheck(&self, _: &Context) -> msup::Result<Health> {
        Ok(Health::degraded(self.config.every.to_string()))
    }
}

fn said(message: impl Into<Message>) -> Vec<u8> {
    message.into().encode_frame().expect("a frame")
}

/// What the native loop says to these bytes, and how it ends.
fn spoken(bytes: &[u8]) -> (Vec<u8>, Result<(), String>) {
    let (mut supervisor, runner) = UnixStream::pair().expect("a pair");
    let bytes = bytes.to_vec();
    let loop_ = std::thread::spawn(move || serve::<Counter>(runner, HASH).map_err(|error| error.to_string()));
    supervisor.write_all(&bytes).expect("it listens");
    supervisor
        .shutdown(std::net::Shutdown::Write)
        .expect("half a hang-up");
    let mut heard = Vec::new();
    supervisor.read_to_end(&mut heard).expect("what it said");
    (heard, loop_.join().expect("no panic"))
}

// Proves: AD-3, SB-6
#[test]
fn the_native_loop_speaks_and_ends_as_the_protocol_says() {
    let (heard, end) = spoken(&[said(Healthcheck { seq: 1 }), said(Stop { seq: 2 }), vec![1, 2]].concat());
    assert_eq!(end, Ok(()));
    let (hello, taken) = decode_frame(&heard, Direction::FromRunner)
        .expect("good")
        .expect("whole");
    let Message::Hello(hello) = hello else {
        panic!("{hello:?}")
    };
    assert_eq!(
        (
            hello.sdk.as_str(),
            hello.abi,
            hello.hooks,
            hello.state_schema_version
        ),
        ("rust", 1, vec!["on_healthcheck".to_owned()], 1)
    );
    let (report, _) = decode_frame(&heard[taken..], Direction::FromRunner)
        .expect("good")
        .expect("whole");
    assert_eq!(report.kind().as_str(), "health_report");
    let checkpoint = CheckpointRequest {
        seq: 3,
        step: Step(1),
        max_bytes: 0,
    };
    let (heard, end) = spoken(&said(checkpoint));
    assert_eq!(end, Ok(()));
    assert!(String::from_utf8_lossy(&heard).contains("on_init has not succeeded"));
    for (bytes, cause) in [
        (&[0, 0, 0, 0][..], "the length prefix is 0"),
        (&[0, 0, 1][..], "ended inside a frame"),
        (&[1, 0, 0, 1, 0x92, 11], "at most 16777216"),
        (&[0, 0, 0, 1, 0xc1], "0xc1"),
        (&[0, 0, 0, 3, 0x92, 3, 1], "may not send it"),
        (&[0, 0, 0, 4, 0x92, 11, 1, 1], "after the end of the array"),
        (&[0, 0, 0, 3, 0x92, 99, 1], "no message of type 99"),
        (&[0, 0, 0, 5, 0x94, 5, 1, 1, 0x90], "a batch without events"),
        (
            &[0, 0, 0, 8, 0x96, 8, 1, 0, 0, 1, 0xc4, 0],
            "not announced by an init",
        ),
    ] {
        let (_, end) = spoken(bytes);
        let error = end.expect_err(cause);
        assert!(error.contains(cause), "{bytes:?}: {error}");
    }
}

// Proves: DM-1
#[test]
fn a_strategy_describes_itself_as_in_python() {
    let text = msup::describe::describe::<Counter>();
    let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let expected = serde_json::json!({
        "abi": 1, "entry": "", "name": "Counter", "sdk": "rust", "sdk_version": env!("CARGO_PKG_VERSION"),
        "hooks": ["on_healthcheck"], "state_schema_version": 1,
        "config_schema": {"every": {"type": "int", "required": false, "apply": "tick", "min": 1, "max": 10, "default": 3}},
    });
    assert_eq!(found, expected);
}

// Proves: AD-3
#[test]
fn the_guest_makes_room_for_a_frame_and_for_nothing_else() {
    let guest = Guest::<Counter>::default();
    assert_ne!(guest.buffer(0), 0);
    assert_ne!(guest.buffer(1 << 20), 0);
    assert_eq!(guest.buffer(-1), 0);
    assert_eq!(guest.buffer((16 << 20) + 5), 0);
    assert_eq!(
        guest.describe() & 0xffff_ffff,
        msup::describe::describe::<Counter>().len() as i64
    );
}

// Proves: SB-6
#[test]
fn a_session_demands_its_order() {
    let mut h = Harness::<Counter>::builder().start();
    let init = b"\x92\x02\x01";
    assert!(h.handle(init).is_err(), "too short");
    let session = Session::<Counter>::new();
    assert!(session.hello("short", &mut Vec::new()).is_err(), "no hash");
    assert!(session.hello(HASH, &mut Vec::new()).is_ok());
}
