//! Frames: a u32 big-endian length and one message (PROTOCOL.md section 1). Nothing here reads or writes a stream; it says
//! how many bytes of one belong together, and what they mean.

use std::fmt;

use crate::codec::{Reader, Wire, Writer};
use crate::error::{DecodeError, EncodeError, ErrorClass, Within};
use crate::event::{Event, EventKind};
use crate::intent::Intent;
use crate::limits::{MAX_ANSWER_BYTES, MAX_CHUNK_BYTES, MAX_CHUNK_OVERHEAD_BYTES, MAX_FRAME_BYTES};
use crate::message::{Message, MessageType};

/// Length of the prefix, bytes.
pub const PREFIX_BYTES: usize = 4;

/// How many bytes of a message are enough to know its type, in any form of its integers.
const HEAD_BYTES: usize = 16;

/// Who sent a frame: it decides which messages are legal and how long a frame may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What M itself has stored: every message is legal.
    FromAnyone,
    /// Runner → supervisor.
    FromRunner,
    /// Supervisor → runner.
    FromSupervisor,
    /// M → H, I, J/E.
    FromM,
    /// H, I, J/E → M.
    FromPeer,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FromAnyone => "anyone",
            Self::FromRunner => "runner",
            Self::FromSupervisor => "supervisor",
            Self::FromM => "m",
            Self::FromPeer => "peer",
        })
    }
}

impl Direction {
    /// Whether a message of this type may come from this side.
    pub fn allows(self, message: MessageType) -> bool {
        use MessageType as M;
        let sides: &[Self] = match message {
            M::Hello | M::Answer | M::BatchAnswer | M::HealthReport => &[Self::FromRunner],
            M::Init | M::Deliver | M::Batch | M::CheckpointRequest | M::Healthcheck | M::Stop => {
                &[Self::FromSupervisor]
            }
            M::Chunk => &[Self::FromRunner, Self::FromSupervisor],
            M::BoundaryHello
            | M::Offer
            | M::Query
            | M::Tombstone
            | M::Resume
            | M::SnapshotRequest
            | M::ApprovalRequest
            | M::Sync => &[Self::FromM],
            M::Welcome | M::Refused | M::Status | M::LastStep | M::Event | M::Approval => &[Self::FromPeer],
            M::Ack => &[Self::FromM, Self::FromPeer],
        };
        self == Self::FromAnyone || sides.contains(&self)
    }

    /// The largest frame of this type that this side may send, bytes without the prefix.
    pub fn max_frame_bytes(self, message: MessageType) -> usize {
        match (self, message) {
            (Self::FromRunner, MessageType::Chunk) => MAX_CHUNK_BYTES + MAX_CHUNK_OVERHEAD_BYTES,
            (Self::FromRunner, _) => MAX_ANSWER_BYTES,
            _ => MAX_FRAME_BYTES,
        }
    }

    pub(crate) fn check(self, message: MessageType, len: usize) -> Result<(), DecodeError> {
        if !self.allows(message) {
            let refused = Reader::fail_at(0, ErrorClass::Direction, format!("{self} may not send it"));
            return refused.map_err(|error: DecodeError| error.within(message.as_str()));
        }
        let most = self.max_frame_bytes(message);
        match len > most {
            true => too_large(len, most).map_err(|error| error.within(message.as_str())),
            false => Ok(()),
        }
    }
}

fn too_large(len: usize, most: usize) -> Result<(), DecodeError> {
    Reader::fail_at(
        0,
        ErrorClass::FrameTooLarge,
        format!("{len} bytes; at most {most} are allowed"),
    )
}

/// Reads the type of a message and nothing else: the head of a message is enough.
pub fn peek_type(message: &[u8]) -> Result<MessageType, DecodeError> {
    let mut r = Reader::new(message);
    r.peek_array()?;
    let offset = r.offset();
    let number = r.uint().map_err(|error| error.within("type"))?;
    MessageType::from_number(number).map_or_else(
        || {
            Reader::fail_at(
                offset,
                ErrorClass::UnknownType,
                format!("there is no message of type {number}"),
            )
            .map_err(|error: DecodeError| error.within("type"))
        },
        Ok,
    )
}

/// The length of the frame at the front of `stream`, prefix included. `None` when too few bytes are there to tell; a frame
/// that is too large or comes from the wrong side is refused from its head, before its bytes have to be held.
pub fn frame_bytes(stream: &[u8], from: Direction) -> Result<Option<usize>, DecodeError> {
    let Some((prefix, rest)) = stream.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*prefix) as usize;
    if len == 0 {
        return Reader::fail_at(0, ErrorClass::FrameEmpty, "the length prefix is 0");
    }
    if len > MAX_FRAME_BYTES {
        too_large(len, MAX_FRAME_BYTES)?;
    }
    match peek_type(&rest[..len.min(rest.len())]) {
        // The type itself is not there yet.
        Err(error) if error.class() == ErrorClass::Truncated && rest.len() < len.min(HEAD_BYTES) => {
            return Ok(None);
        }
        message => from.check(message?, len)?,
    }
    Ok(Some(PREFIX_BYTES + len))
}

/// Cuts the frame at the front of `stream` and decodes it. `None` when it is not wholly there yet; otherwise the message
/// and the number of bytes that it took.
pub fn decode_frame(stream: &[u8], from: Direction) -> Result<Option<(Message, usize)>, DecodeError> {
    match frame_bytes(stream, from)? {
        Some(len) if len <= stream.len() => {
            let message = Message::decode(&stream[PREFIX_BYTES..len], from)?;
            Ok(Some((message, len)))
        }
        _ => Ok(None),
    }
}

/// Encodes one value in the bytes that it has inside a message.
fn encode<T: Wire>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut w = Writer::default();
    value.put(&mut w, 0)?;
    Ok(w.into_bytes())
}

fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut r = Reader::new(bytes);
    let value = T::take(&mut r, 0)?;
    r.finish()?;
    Ok(value)
}

impl Message {
    /// The message's array, without the length prefix of a frame.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(self)
    }

    /// The whole frame: prefix and array.
    pub fn encode_frame(&self) -> Result<Vec<u8>, EncodeError> {
        let mut w = Writer::with_bytes(vec![0; PREFIX_BYTES]);
        self.put(&mut w, 0)?;
        let mut frame = w.into_bytes();
        let len = frame.len() - PREFIX_BYTES;
        match u32::try_from(len) {
            Ok(prefix) if len <= MAX_FRAME_BYTES => {
                frame[..PREFIX_BYTES].copy_from_slice(&prefix.to_be_bytes());
                Ok(frame)
            }
            _ => Err(EncodeError::new(
                ErrorClass::FrameTooLarge,
                format!("{len} bytes; at most {MAX_FRAME_BYTES} are allowed"),
            )),
        }
    }

    /// Decodes a frame without its length prefix.
    pub fn decode(frame: &[u8], from: Direction) -> Result<Self, DecodeError> {
        let message = peek_type(frame)?;
        from.check(message, frame.len())?;
        let mut r = Reader::new(frame);
        let decoded = Self::take_exactly(&mut r, message)?;
        r.finish()?;
        match &decoded {
            Self::Event(source) if from != Direction::FromAnyone => source_may_send(&source.event)?,
            _ => {}
        }
        Ok(decoded)
    }
}

/// Refuses the events that only M makes: a source that could forge a compute result or a configuration would stand above
/// the operator.
fn source_may_send(event: &Event) -> Result<(), DecodeError> {
    let kind = event.kind();
    match kind >= EventKind::Timer && kind != EventKind::ManualSignal {
        true => Reader::fail_at(
            0,
            ErrorClass::Direction,
            format!("a source may not send a {kind} event"),
        )
        .map_err(|error: DecodeError| error.within("event")),
        false => Ok(()),
    }
}

impl Event {
    /// The event's array, as it stands inside a message.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(self)
    }

    /// Reads what [`Event::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }
}

impl Intent {
    /// The intent's array, as it stands inside a message.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(self)
    }

    /// Reads what [`Intent::encode`] wrote. Metadata that is there but empty is no error: the gate judges it (GT-4).
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }
}
