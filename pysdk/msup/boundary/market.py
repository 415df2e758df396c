"""H's side: market events for M. Lossy: who reads too slowly misses events and sees it by their numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from msup.boundary.link import Peer
from msup.boundary.message import Ack, Resume, SourceEvent, check_peer_message, decode_from_m, encode, frame
from msup.boundary.server import Server
from msup.error import ProtocolError
from msup.event import Cursor, MarketEvent

DEFAULT_MARKET_BYTES: Final = 4 << 20


class MarketSource(Server):
    """Publishes market events to whoever is connected. It keeps nothing: a source that went down goes on with *now*."""

    def __init__(
        self,
        *,
        socket: str | Path,
        uids: Collection[int] = (),
        out_bytes: int = DEFAULT_MARKET_BYTES,
        source_epoch: int | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        """Serve on ``socket``; a peer that leaves ``out_bytes`` unread loses events.

        ``source_epoch`` rises whenever ``seq`` begins anew; by default it is the second of the start.
        """
        super().__init__(socket=socket, uids=uids, out_bytes=out_bytes, log=log)
        self.source_epoch: Final = int(time.time()) if source_epoch is None else source_epoch

    def publish(self, event: MarketEvent, *, wait_s: float = 0.0) -> int:
        """Send an event to every peer; returns how many took it.

        ``event.source`` and ``event.seq`` number it. ``wait_s`` is for sources that can be held back, such as files.
        """
        cursor = Cursor(event.source, self.source_epoch, event.seq)
        payload = encode(SourceEvent(0, None, cursor, event.recv_ts, "", event))  # type: ignore[arg-type]
        check_peer_message(payload)  # what M would refuse must not leave
        framed = frame(payload)
        with self._guard:
            peers = [peer for peer in self._peers if not peer.gone]
        taken = 0
        for peer in peers:
            if peer.put(framed, wait_s):
                taken += 1
            elif not peer.gone:
                peer.dropped += 1
                if peer.dropped & (peer.dropped - 1) == 0:  # 1, 2, 4, 8, …
                    self.log.warning("%s does not keep up: %d events lost so far", peer.name, peer.dropped)
        return taken

    @property
    def connected(self) -> int:
        """Peers that listen."""
        with self._guard:
            return len(self._peers)

    @property
    def lost(self) -> int:
        """Events that peers which are connected now have missed."""
        with self._guard:
            return sum(peer.dropped for peer in self._peers)

    def _arrived(self, peer: Peer, payloads: list[bytes]) -> None:
        for payload in payloads:
            message = decode_from_m(payload)
            if isinstance(message, Resume):
                self.log.info(
                    "%s has events up to %d of epoch %d; it gets those from now on",
                    peer.name,
                    message.cursor.seq,
                    message.cursor.source_epoch,
                )
            elif not isinstance(message, Ack):
                raise ProtocolError(f"a {type(message).__name__} is no message to H")
