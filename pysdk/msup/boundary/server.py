"""Accepts connections and runs each on threads of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from msup.boundary.link import FRAME_TIMEOUT_S, MAX_FRAME_FROM_M_BYTES, Frames, Peer, check_peer, listen
from msup.error import MsupError, ProtocolError

DEFAULT_OUT_BYTES: Final = 64 << 20
DEFAULT_MOST_PEERS: Final = 64


class Server(ABC):
    """A unix socket server that speaks frames. ``start`` and ``stop``, or ``with``, or ``run`` for a whole program."""

    def __init__(
        self,
        *,
        socket: str | Path,
        uids: Collection[int] = (),
        out_bytes: int = DEFAULT_OUT_BYTES,
        most_peers: int = DEFAULT_MOST_PEERS,
        frame_timeout_s: float = FRAME_TIMEOUT_S,
        log: logging.Logger | None = None,
    ) -> None:
        """Serve on ``socket``.

        ``uids`` may connect beside this process's own user and root. A peer may leave ``out_bytes`` unread before it is
        dropped; ``most_peers`` may be connected at once.
        """
        self.socket: Final = Path(socket)
        self.log: Final = log or logging.getLogger("msup.boundary")
        self.on_ready: Callable[[], None] | None = None
        """Called by ``run`` when the socket listens."""
        self._uids = {os.getuid(), *uids}
        self._out_bytes = out_bytes
        self._most_peers = most_peers
        self._frame_timeout_s = frame_timeout_s
        self._listener: _Listener | None = None
        self._peers: set[Peer] = set()
        self._threads: list[threading.Thread] = []
        self._served = 0
        self._guard = threading.Lock()
        self._stopping = threading.Event()

    # What a kind of server does.

    @abstractmethod
    def _arrived(self, peer: Peer, payloads: list[bytes]) -> None:
        """Work off what a peer has said; a ``ProtocolError`` ends its connection."""

    def _left(self, peer: Peer) -> None:
        """A peer has gone."""
        return

    def _opened(self) -> None:
        """Before the first connection."""
        return

    def _interrupted(self) -> None:
        """``stop`` was called: whoever waits must look at ``_stopping``."""
        return

    def _closed(self) -> None:
        """After the last connection."""
        return

    # Life.

    def start(self) -> None:
        """Listen and serve in the background."""
        if self._listener is not None:
            raise MsupError("the server is running already")
        self._stopping.clear()
        self._opened()
        try:
            self._listener = _Listener(self.socket)
        except BaseException:
            self._closed()
            raise
        self._spawn(self._accept, "accept")

    def stop(self) -> None:
        """End every connection and wait for the threads. What was durable stays; nothing else has been told."""
        listener = self._listener
        if listener is None:
            return
        self._stopping.set()
        self._interrupted()
        listener.close()
        self._threads[0].join()  # the one that accepts: from here on nobody comes in
        with self._guard:
            peers = list(self._peers)
        for peer in peers:
            peer.drop()
        while self._threads:
            with self._guard:
                thread = self._threads.pop()
            thread.join()
        self._listener = None
        self._closed()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT (main thread only)."""
        ended: queue.SimpleQueue[None] = queue.SimpleQueue()  # an Event that is set while it is waited for may never be

        def end(_number: int, _frame: FrameType | None) -> None:
            ended.put(None)

        former = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with self:
                if self.on_ready is not None:
                    self.on_ready()
                while not self._stopping.is_set():
                    with contextlib.suppress(queue.Empty):
                        ended.get(timeout=0.2)
                        break
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    # Connections.

    def _spawn(self, target: object, name: str, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=f"msup-{name}", daemon=True)  # pyright: ignore[reportArgumentType]
        with self._guard:
            self._threads = [t for t in self._threads if t.is_alive()]
            thread.start()
            self._threads.append(thread)

    def _accept(self) -> None:
        listener = self._listener
        if listener is None:
            return
        while not self._stopping.is_set():
            sock = listener.accept()
            if sock is None:
                continue
            with self._guard:
                self._served += 1
                name, many = f"conn-{self._served}", len(self._peers) >= self._most_peers
            refusal = check_peer(sock, self._uids)
            if refusal is None and many:
                refusal = f"{self._most_peers} connections are open already; close one"
            if refusal is not None:
                self.log.warning("a connection is refused: %s", refusal)
                sock.close()
                continue
            peer = Peer(name, sock, self._out_bytes)
            with self._guard:
                self._peers.add(peer)
            self._spawn(self._converse, name, peer)

    def _converse(self, peer: Peer) -> None:
        writer = threading.Thread(target=peer.write, name=f"msup-{peer.name}-out", daemon=True)
        writer.start()
        try:
            frames = Frames(peer.sock, MAX_FRAME_FROM_M_BYTES, self._frame_timeout_s)
            while payloads := frames.read():
                self._arrived(peer, payloads)
                if peer.gone:
                    break
            peer.finish()
        except ProtocolError as error:
            self.log.warning(
                "%s is dropped: %s; its sender must keep to the boundary protocol, the others go on", peer.name, error
            )
            peer.drop()
        except OSError as error:
            if not peer.gone:
                self.log.warning("%s is lost: %s", peer.name, error)
            peer.drop()
        finally:
            self._left(peer)
            writer.join()
            peer.drop()
            peer.sock.close()
            with self._guard:
                self._peers.discard(peer)


class _Listener:
    """The listening socket; closing it ends ``accept``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sock = listen(path)
        self._inode = path.stat().st_ino
        self._sock.settimeout(0.1)  # close() does not wake an accept in another thread

    def accept(self) -> socket.socket | None:
        try:
            sock, _ = self._sock.accept()
        except TimeoutError:
            return None
        except OSError:  # it is closed, or there are no descriptors left: try again
            time.sleep(0.05)
            return None
        sock.settimeout(None)
        return sock

    def close(self) -> None:
        self._sock.close()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # another process may serve here by now
                self._path.unlink()
