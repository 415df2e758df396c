//! The native runner: one strategy instance behind one unix socket (PROTOCOL.md section 2), as `python -m msup.runner` is.
//!
//! Environment: `MSUP_SOCKET` path of the supervisor's socket · `MSUP_PACKAGE_HASH` 64 hex characters, repeated in the handshake.
//! With the argument `describe` the binary prints what `msup build` wants to know, and connects to nothing.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | Stop, or the end of the stream |
//! | 64 | arguments that it does not know |
//! | 70 | the socket cannot be reached, or the supervisor broke the protocol |
//! | 78 | the environment is wrong; one line on stderr begins `msup: IMPORT_FAILED:` |
//!
//! An error or a panic in a callback ends nothing: it becomes a fault in the answer. Clocks and chance are not under msup's
//! control here, as they are in a module: use `ctx.now()` and `ctx.rng()` (NN-7).

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use crate::describe::describe;
use crate::export::{EXIT_ENVIRONMENT, EXIT_PROTOCOL, PACKAGE_HASH};
use crate::fault::ProtocolError;
use crate::frame::{Direction, PREFIX_BYTES, frame_bytes};
use crate::session::{Flow, Session};
use crate::strategy::Strategy;

const SOCKET: &str = "MSUP_SOCKET";
const EXIT_USAGE: u8 = 64;

/// What is read at once; most frames are far shorter.
const READ_BYTES: usize = 64 << 10;

/// Buffers that grew beyond this for a large frame are given back.
const KEEP_BYTES: usize = 1 << 20;

/// Runs the strategy until the session ends; the exit code comes back. See [`native_main!`](crate::native_main).
pub fn main<S: Strategy>() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => run::<S>(),
        [only] if only == "describe" => match writeln!(io::stdout(), "{}", describe::<S>()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => leave(
                EXIT_PROTOCOL,
                &format!("the description cannot be printed: {error}"),
            ),
        },
        _ => leave(
            i32::from(EXIT_USAGE),
            "usage: without arguments, by msup run; or: describe",
        ),
    }
}

fn run<S: Strategy>() -> ExitCode {
    let variable = |name: &str| match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(format!(
            "IMPORT_FAILED: the environment variable {name} is not set; msup run sets it"
        )),
    };
    let (path, hash) = match variable(SOCKET).and_then(|path| Ok((path, variable(PACKAGE_HASH)?))) {
        Ok(found) => found,
        Err(cause) => return leave(EXIT_ENVIRONMENT, &cause),
    };
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) => {
            let cause = format!("PROTOCOL: cannot connect to {SOCKET}={path}: {error}");
            return leave(EXIT_PROTOCOL, &cause);
        }
    };
    match serve::<S>(stream, &hash) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => leave(EXIT_PROTOCOL, &format!("PROTOCOL: {error}; the session is over")),
    }
}

fn leave(status: i32, line: &str) -> ExitCode {
    eprintln!("msup: {}", line.replace('\n', " "));
    u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Says hello, then answers until Stop or the end of the stream.
pub fn serve<S: Strategy>(mut stream: impl Read + Write, package_hash: &str) -> Result<(), ProtocolError> {
    let mut session = Session::<S>::new();
    let mut out = Vec::new();
    session.hello(package_hash, &mut out)?;
    let mut buffer = vec![0; READ_BYTES];
    let (mut start, mut end) = (0, 0); // of what has been read and not handled
    loop {
        if !out.is_empty() {
            if let Err(error) = stream.write_all(&out) {
                // The supervisor closed the socket while an answer was under way.
                eprintln!("msup: the socket is gone: {error}");
                return Ok(());
            }
            out.clear();
            out.shrink_to(KEEP_BYTES);
        }
        let frame = match frame_bytes(&buffer[start..end], Direction::FromSupervisor)? {
            Some(len) if len <= end - start => len,
            needed => {
                let needed = needed.unwrap_or(PREFIX_BYTES);
                buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                if needed > buffer.len() {
                    buffer.resize(needed, 0);
                } else if end == 0 && buffer.len() > KEEP_BYTES {
                    buffer.truncate(READ_BYTES);
                    buffer.shrink_to_fit();
                }
                match read(&mut stream, &mut buffer[end..]) {
                    Ok(0) if end == 0 => return Ok(()),
                    Ok(0) => {
                        return Err(ProtocolError::new(format!(
                            "the stream ended inside a frame, after {end} bytes"
                        )));
                    }
                    Ok(count) => end += count,
                    Err(error) => {
                        return Err(ProtocolError::new(format!(
                            "cannot read from the socket: {error}"
                        )));
                    }
                }
                continue;
            }
        };
        let payload = &buffer[start + PREFIX_BYTES..start + frame];
        if session.handle(payload, &mut out)? == Flow::Stop {
            return Ok(());
        }
        start += frame;
    }
}

fn read(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A peer that is gone has said all that it had to say.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
            done => return done,
        }
    }
}
