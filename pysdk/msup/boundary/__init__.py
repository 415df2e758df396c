"""The boundary between M and its neighbours H, I, J and E, for neighbours written in Python.

What it is
    ``Receiver`` is I: it serves the boundary protocol (PROTOCOL.md section 5) on a unix socket, keeps key, digest,
    status and epoch on disk, and calls a ``Handler`` for each intent. ``MarketSource`` is H, ``Approver`` is J and E.
    The messages and their codec are here too, for who speaks the protocol by hand.

What is guaranteed (I)
    - A key is durable before the handler is called for it, its status and events before M is told.
    - The handler is called once for a key. The same key with the same digest is answered with the same status; with
      another digest KEY_CONFLICT. A tombstoned key is never applied, an intent past ``valid_until`` neither.
    - A lower epoch, or an equal one of another owner, is refused; a higher one bars the former owner.
    - When a crash, or an exception, falls between the call and its record, the key is *unknown*: M is told so, and
      nothing is done with it but ``on_unknown``. Its default leaves it so (at most once). One that asks the venue by
      key (the client order id) makes it exactly once: it returns the outcome, or ``NEVER_ARRIVED`` when the venue does
      not have it and never will; only then is ``on_offer`` called again.
    - Events are sent again until M has acknowledged them, in order. A store that cannot be written takes no offers:
      they are refused with PERSIST_FAILED, and work goes on by itself when it can be written again.
    - A peer that breaks the protocol, stops inside a frame or does not read is dropped; the others do not notice.

What you may not assume
    - That an event reaches M once: cursors are for that. That ``on_offer`` follows the offer at once: offers of one
      instance wait for each other. That a store may be lost: one made anew knows no key and starts a new source epoch,
      by which M learns of it.
    - That keys are ever forgotten: they are kept for ever.

How to test against it
    ``msup.boundary.testing`` has an I that dies, stalls, repeats, reorders and lies, all from a seed;
    ``python -m msup.boundary.adverse`` runs it as a process.
"""

from __future__ import annotations

from msup.boundary.handler import NEVER_ARRIVED, Handler, NeverArrived, Offered, Outcome, committed, rejected
from msup.boundary.keybook import Entry, Phase, intent_digest
from msup.boundary.link import SocketError
from msup.boundary.market import MarketSource
from msup.boundary.message import (
    Ack,
    Address,
    Approval,
    ApprovalRequest,
    BoundaryHello,
    Cursor,
    FromM,
    FromPeer,
    LastStep,
    Offer,
    Query,
    Refused,
    Resume,
    SnapshotRequest,
    SourceEvent,
    StatusReport,
    Sync,
    Tombstone,
    Welcome,
    decode_from_m,
    decode_from_peer,
    encode,
    frame,
)
from msup.boundary.receiver import Receiver
from msup.boundary.risk import Approver, Decision, Requested, RiskHandler, approve, deny
from msup.boundary.store import StoreError
from msup.frame import FrameConnection

__all__ = [
    "NEVER_ARRIVED",
    "Ack",
    "Address",
    "Approval",
    "ApprovalRequest",
    "Approver",
    "BoundaryHello",
    "Cursor",
    "Decision",
    "Entry",
    "FrameConnection",
    "FromM",
    "FromPeer",
    "Handler",
    "LastStep",
    "MarketSource",
    "NeverArrived",
    "Offer",
    "Offered",
    "Outcome",
    "Phase",
    "Query",
    "Receiver",
    "Refused",
    "Requested",
    "Resume",
    "RiskHandler",
    "SnapshotRequest",
    "SocketError",
    "SourceEvent",
    "StatusReport",
    "StoreError",
    "Sync",
    "Tombstone",
    "Welcome",
    "approve",
    "committed",
    "decode_from_m",
    "decode_from_peer",
    "deny",
    "encode",
    "frame",
    "intent_digest",
    "rejected",
]
