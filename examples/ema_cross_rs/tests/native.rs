//! The native binary as a process: what it says and how it exits.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use msup::frame::{Direction, decode_frame};
use msup::message::{Message, Stop};

const HASH: &str = "abababababababababababababababababababababababababababababababab";

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ema_cross_rs"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// Proves: DM-1
#[test]
fn it_describes_itself() {
    let output = binary().arg("describe").output().expect("a process");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success());
    assert!(text.contains(r#""hooks": ["on_config"]"#), "{text}");
    let fast = r#""fast": {"apply": "tick", "default": 50, "doc": "length of the fast average", "max": 10000, "min": 1, "required": false, "type": "int", "unit": "events"}"#;
    assert!(text.contains(fast), "{text}");
    assert!(
        text.contains(r#""notional": {"apply": "tick", "default": "5000", "#),
        "{text}"
    );
}

// Proves: AD-1
#[test]
fn a_wrong_environment_is_named() {
    let output = binary().output().expect("a process");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        text(&output).starts_with("msup: IMPORT_FAILED: the environment variable MSUP_SOCKET"),
        "{}",
        text(&output)
    );
    let output = binary().arg("run").output().expect("a process");
    assert_eq!(output.status.code(), Some(64));
    let gone = binary()
        .env("MSUP_SOCKET", "/nowhere/s")
        .env("MSUP_PACKAGE_HASH", HASH)
        .output();
    let output = gone.expect("a process");
    assert_eq!(output.status.code(), Some(70));
    assert!(
        text(&output).contains("cannot connect to MSUP_SOCKET=/nowhere/s"),
        "{}",
        text(&output)
    );
}

/// Starts the binary, takes its hello, says these bytes, hangs up if asked to, and waits for the end.
fn session(said: &[u8], hang_up: bool) -> Output {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("msup-native-{}-{number}", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a socket");
    let child = binary()
        .env("MSUP_SOCKET", &path)
        .env("MSUP_PACKAGE_HASH", HASH)
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let (mut stream, _) = listener.accept().expect("a connection");
    std::fs::remove_file(&path).expect("the socket's file");
    let mut hello = Vec::new();
    let hello = loop {
        let mut part = [0; 512];
        let count = stream.read(&mut part).expect("the hello");
        hello.extend_from_slice(&part[..count]);
        if let Some((message, _)) = decode_frame(&hello, Direction::FromRunner).expect("a frame") {
            break message;
        }
    };
    assert!(
        matches!(&hello, Message::Hello(hello) if hello.sdk == "rust" && hello.package_hash == HASH),
        "{hello:?}"
    );
    stream.write_all(said).expect("it listens");
    if hang_up {
        drop(stream);
        return child.wait_with_output().expect("the end");
    }
    let output = child.wait_with_output().expect("the end");
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "nothing more is said");
    output
}

// Proves: SB-6
#[test]
fn it_leaves_at_stop_and_at_the_end_of_the_stream() {
    let stop = Message::from(Stop { seq: 1 }).encode_frame().expect("a stop");
    assert_eq!(session(&stop, false).status.code(), Some(0));
    assert_eq!(session(&[], true).status.code(), Some(0));
}

// Proves: SB-6
#[test]
fn a_supervisor_that_breaks_the_protocol_ends_it() {
    for (said, hang_up, cause) in [
        (&[0, 0, 0, 0][..], false, "the length prefix is 0"),
        (
            &[0xff, 0xff, 0xff, 0xff, 0x90],
            false,
            "at most 16777216 are allowed",
        ),
        (&[0, 0, 0, 9, 0x92, 4], true, "ended inside a frame"),
        (
            &[0, 0, 0, 3, 0x92, 0x03, 0x01],
            false,
            "supervisor may not send it",
        ),
    ] {
        let output = session(said, hang_up);
        assert_eq!(output.status.code(), Some(70), "{}", text(&output));
        assert!(text(&output).contains(cause), "{}", text(&output));
    }
}
