"""The messages of the boundary and their codec (PROTOCOL.md section 5).

``seq`` is chosen by the asker and repeated in the answer; many questions may be open.
"""

from __future__ import annotations

from msup.codec import Decoder, encode, frame
from msup.error import ProtocolError
from msup.event import (
    ComputeResult,
    ComputeUnavailable,
    ConfigUpdate,
    Cursor,
    Event,
    EventSkipped,
    IntentsDiscarded,
    Recovered,
    Shutdown,
    Timer,
)
from msup.intent import Intent, Status
from msup.message import Address
from msup.wire import U32, U64, Bin16, Bin32, Id, Nanos, Tag, Wire

__all__ = [
    "Ack",
    "Address",
    "Approval",
    "ApprovalRequest",
    "BoundaryHello",
    "Cursor",
    "FromM",
    "FromPeer",
    "LastStep",
    "Offer",
    "Query",
    "Refused",
    "Resume",
    "SnapshotRequest",
    "SourceEvent",
    "StatusReport",
    "Sync",
    "Tombstone",
    "Welcome",
    "decode_from_m",
    "decode_from_peer",
    "encode",
    "frame",
]


class BoundaryHello(Wire, tag=32):
    """M → I: an instance and its epoch, durable at I before Welcome (LS-3)."""

    seq: U64
    address: Address
    lineage: Bin16
    epoch: U64
    owner_nonce: Bin16
    oldest_open_step: U64


class Welcome(Wire, tag=33):
    """I → M: the last step that I has seen, and its cursor."""

    seq: U64
    address: Address
    last_step: U64
    cursor: Cursor


class Refused(Wire, tag=34):
    """I → M: the epoch is lower than a known one, or equal with another owner."""

    seq: U64
    address: Address
    reason: Tag
    epoch: U64


class Offer(Wire, tag=35):
    """M → I: an intent, at least once, with key, epoch and digest (GT-5).

    After ``valid_until`` I must not act on a first sight.
    """

    seq: U64
    address: Address
    epoch: U64
    step: U64
    ordinal: U32
    digest: Bin32
    valid_until: Nanos
    intent: Intent


class Query(Wire, tag=36):
    """M → I: what do you know of a key?"""

    seq: U64
    address: Address
    epoch: U64
    key: Id


class StatusReport(Wire, tag=37):
    """I → M: I's word on a key; ``seq`` 0 when unasked, ``digest`` None when not seen."""

    seq: U64
    address: Address
    key: Id
    status: Status
    digest: Bin32 | None
    reason: Tag


class Tombstone(Wire, tag=38):
    """M → I: durably turn not_seen into expired; a known key keeps its status."""

    seq: U64
    address: Address
    epoch: U64
    key: Id


class LastStep(Wire, tag=39):
    """I → M: the last step seen of an instance."""

    seq: U64
    address: Address
    step: U64


class SourceEvent(Wire, tag=40):
    """Source → M: an event; ``address`` is None for market events."""

    seq: U64
    address: Address | None
    cursor: Cursor
    recv_ts: Nanos
    trace_id: Id
    event: Event


class Ack(Wire, tag=41):
    """Everything up to ``cursor`` is durable; in answer to Sync only ``seq`` counts."""

    seq: U64
    address: Address | None
    cursor: Cursor


class Resume(Wire, tag=42):
    """M → source: go on after ``cursor``."""

    seq: U64
    address: Address | None
    cursor: Cursor


class SnapshotRequest(Wire, tag=43):
    """M → I: send an ExecutionSnapshot (BC-I)."""

    seq: U64
    address: Address


class ApprovalRequest(Wire, tag=44):
    """M → J/E: approve a staged intent (GT-7)."""

    seq: U64
    address: Address
    epoch: U64
    step: U64
    ordinal: U32
    digest: Bin32
    valid_until: Nanos
    intent: Intent


class Approval(Wire, tag=45):
    """J/E → M: the answer."""

    seq: U64
    address: Address
    key: Id
    approved: bool
    reason: Tag


class Sync(Wire, tag=46):
    """M → simulated I: answer with an Ack when everything before is worked off."""

    seq: U64


FromM = BoundaryHello | Offer | Query | Tombstone | Ack | Resume | SnapshotRequest | ApprovalRequest | Sync
"""What M sends."""

FromPeer = Welcome | Refused | StatusReport | LastStep | SourceEvent | Ack | Approval
"""What H, I, J and E send."""

_from_m: Decoder[FromM] = Decoder(FromM)
_from_peer: Decoder[FromPeer] = Decoder(FromPeer)

_MADE_BY_M = (
    Timer,
    ComputeResult,
    ComputeUnavailable,
    ConfigUpdate,
    Recovered,
    EventSkipped,
    IntentsDiscarded,
    Shutdown,
)


def decode_from_m(payload: bytes | bytearray | memoryview) -> FromM:
    """Decode what M sent; whatever breaks a rule, a message that M may not send too, is a ``ProtocolError``."""
    return _from_m.decode(payload)


def check_peer_message(payload: bytes) -> None:
    """Whether M would take a message that was encoded here: types, lengths, ranges. A tenth of a whole decoding."""
    _from_peer.decode_typed(payload)


def decode_from_peer(payload: bytes | bytearray | memoryview) -> FromPeer:
    """Decode what a neighbour sent; events that only M makes are refused."""
    message = _from_peer.decode(payload)
    if isinstance(message, SourceEvent) and isinstance(message.event, _MADE_BY_M):
        raise ProtocolError(f"a source may not send a {type(message.event).__name__}")
    return message
