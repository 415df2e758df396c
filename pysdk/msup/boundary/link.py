"""One unix socket connection of a neighbour: listening, who may connect, frames in, frames out.

Every byte comes from outside: a length is checked before anything is kept for it, a peer that stops inside a frame or
does not read is given up, and neither holds up anybody else.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Final

from msup.codec import LENGTH
from msup.error import MsupError, ProtocolError

MAX_SOCKET_PATH_BYTES: Final = 107
"""The kernel's sun_path, less its zero."""

MAX_FRAME_FROM_M_BYTES: Final = 64 << 10
"""What M may send to a neighbour: the largest offer is a few KiB."""

FRAME_TIMEOUT_S: Final = 10.0
"""How long a peer may stay inside a frame."""

_RECV_BYTES: Final = 64 << 10
_CRED: Final = struct.Struct("3i")


class SocketError(MsupError):
    """The socket cannot be made: its path is too long, taken, or cannot be written."""


def listen(path: Path) -> socket.socket:
    """Make the socket, readable by its owner only. One that nobody listens on any more is replaced.

    It gets its name when it listens: whoever sees the name can connect.
    """
    name = os.fspath(path)
    unready = path.parent / f".{os.urandom(4).hex()}"
    longest = max(len(os.fsencode(p)) for p in (path, unready))
    if longest > MAX_SOCKET_PATH_BYTES:
        raise SocketError(
            f"socket path {name}: {longest} bytes, the kernel allows {MAX_SOCKET_PATH_BYTES}; choose a shorter folder"
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
    except OSError as error:
        raise SocketError(f"socket path {name}: {error.strerror}; name a folder that can be written") from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)  # between bind and chmod anybody could connect
    try:
        sock.bind(os.fspath(unready))
        sock.listen(16)
        path.hardlink_to(unready)  # unlike a rename it replaces nobody who was faster
    except FileExistsError as error:
        sock.close()
        raise _taken(path) from error
    except OSError as error:
        sock.close()
        raise SocketError(f"socket path {name}: {error.strerror}; name a folder that can be written") from error
    finally:
        os.umask(old)
        unready.unlink(missing_ok=True)
    return sock


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketError(f"socket path {path}: something that is no socket is there; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise _taken(path)


def _taken(path: Path) -> SocketError:
    return SocketError(f"socket path {path}: another process listens there; stop it or choose another path")


def check_peer(sock: socket.socket, uids: Collection[int]) -> str | None:
    """Why this peer may not connect; None when it may. Root and ``uids`` may."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CRED.size)
    pid, uid, _ = _CRED.unpack(raw)
    if uid == 0 or uid in uids:
        return None
    allowed = ", ".join(str(u) for u in sorted(uids))
    return f"peer pid {pid} has uid {uid}, only {allowed} may connect; run msup as the same user, or name its uid"


class Frames:
    """Reads the payloads of frames, as many at a time as have arrived: they can share one commit."""

    __slots__ = ("_buffer", "_most", "_sock", "_timeout_ms")

    def __init__(self, sock: socket.socket, most_bytes: int, timeout_s: float) -> None:
        self._sock = sock
        self._most = most_bytes
        self._timeout_ms = int(timeout_s * 1000)
        self._buffer = bytearray()

    def read(self) -> list[bytes]:
        """At least one payload; none at the end of the stream.

        Raises ``ProtocolError`` for a frame that is too long, empty, cut off, or not finished in time.
        """
        while True:
            payloads = self._whole()
            if payloads:
                return payloads
            if self._buffer:
                poll = select.poll()
                poll.register(self._sock, select.POLLIN)
                if not poll.poll(self._timeout_ms):
                    raise ProtocolError(f"a frame was not finished within {self._timeout_ms} ms")
            got = self._sock.recv(_RECV_BYTES)
            if not got:
                if self._buffer:
                    raise ProtocolError(f"the stream ended inside a frame, after {len(self._buffer)} bytes of it")
                return []
            self._buffer += got

    def _whole(self) -> list[bytes]:
        found: list[bytes] = []
        start, end = 0, len(self._buffer)
        while end - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, start)
            if not 0 < length <= self._most:
                if found:  # what came before it counts; the next call refuses this one
                    break
                raise ProtocolError(f"a frame of {length} bytes; allowed are 1 to {self._most}")
            stop = start + LENGTH.size + length
            if stop > end:
                break
            found.append(bytes(self._buffer[start + LENGTH.size : stop]))
            start = stop
        del self._buffer[:start]
        return found


class Peer:
    """One connection: what it may say is for its door; here it is written to, without ever making the writer wait."""

    def __init__(self, name: str, sock: socket.socket, out_bytes: int) -> None:
        """Hold at most ``out_bytes`` for a peer that reads slowly."""
        self.name = name
        self.hellos: dict[tuple[str, str, str], bytes] = {}
        """Instances that it speaks for, with the owner nonce that it named."""
        self.gone = False
        self.dropped = 0
        """Frames of lossy streams that found no room."""
        self.sock = sock
        self._limit = out_bytes
        self._queue = bytearray()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frames: bytes, wait_s: float = 0.0) -> bool:
        """Queue frames; False when there is no room, also after ``wait_s``, or the connection has ended.

        One call is taken whatever its size.
        """
        with self._changed:
            if wait_s > 0:
                self._changed.wait_for(lambda: self._closed or self._room(frames), wait_s)
            if self._closed or not self._room(frames):
                return False
            self._queue += frames
            self._changed.notify_all()
            return True

    def _room(self, frames: bytes) -> bool:
        return not self._queue or len(self._queue) + len(frames) <= self._limit

    def write(self) -> None:
        """Write what is put, until ``finish`` and everything is out, or until the stream fails."""
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                out, self._queue = self._queue, bytearray()
                self._changed.notify_all()
            if not out:
                return
            try:
                self.sock.sendall(out)
            except OSError:
                self.drop()
                return

    def finish(self) -> None:
        """Take no more; what is queued still goes out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drop(self) -> None:
        """End the connection now; reading and writing end with it."""
        self.gone = True
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
        with contextlib.suppress(OSError):  # it may have ended already
            self.sock.shutdown(socket.SHUT_RDWR)
