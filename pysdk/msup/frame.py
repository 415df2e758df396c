"""Frames over a stream socket (PROTOCOL.md section 1)."""

from __future__ import annotations

import socket

import msgspec

from msup.codec import LENGTH, AnswerEncoder
from msup.error import ProtocolError
from msup.limit import CHUNK_OVERHEAD_BYTES, MAX_ANSWER_BYTES, MAX_CHUNK_BYTES, MAX_FRAME_BYTES
from msup.message import MessageType
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here

_SMALL_BYTES = 64 << 10
_KEEP_BYTES = 2 << 20


class FrameConnection:
    """Blocking frames, one reader. A small frame costs one ``recv_into``: header and body are read together.

    Frames that arrive together are handed out one by one. A length is checked before anything is allocated for it.
    """

    __slots__ = ("_buffer", "_encoder", "_end", "_from_runner", "_sock", "_start", "_view")

    def __init__(self, sock: socket.socket, *, from_runner: bool = False) -> None:
        """Own ``sock`` from now on. ``from_runner`` is for who plays the supervisor: a runner's frames are smaller."""
        self._sock = sock
        self._from_runner = from_runner
        self._buffer = bytearray(_SMALL_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._encoder = AnswerEncoder()

    def read(self) -> memoryview | None:
        """The payload of the next frame, valid until the next call; None at the end of the stream.

        Raises ``ProtocolError`` for a frame that is too long, empty, or cut off by the end of the stream.
        """
        start, end = self._start, self._end
        if start == end:
            if len(self._buffer) > _KEEP_BYTES:
                self._buffer = bytearray(_SMALL_BYTES)
                self._view = memoryview(self._buffer)
            start, end = 0, self._sock.recv_into(self._view)
            if end == 0:
                return None
        if end - start < 4:
            start, end = self._fill(start, end, 4)
        (length,) = LENGTH.unpack_from(self._buffer, start)
        if not 0 < length <= MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame of {length} bytes; allowed are 1 to {MAX_FRAME_BYTES}")
        if length > MAX_ANSWER_BYTES and self._from_runner:
            start, end = self._check_runner(start, end, length)
        stop = start + 4 + length
        if stop > end:
            start, end = self._fill(start, end, 4 + length)
            stop = start + 4 + length
        self._start, self._end = stop, end
        return self._view[start + 4 : stop]

    def _check_runner(self, start: int, end: int, length: int) -> tuple[int, int]:
        """Judge a long frame by its first bytes: of a runner only a chunk may be longer than an answer."""
        if end - start < 6:
            start, end = self._fill(start, end, 6)
        is_chunk = self._buffer[start + 4] & 0xF0 == 0x90 and self._buffer[start + 5] == MessageType.CHUNK
        most = MAX_CHUNK_BYTES + CHUNK_OVERHEAD_BYTES if is_chunk else MAX_ANSWER_BYTES
        if length > most:
            raise ProtocolError(f"a frame of {length} bytes from a runner; at most {most} are allowed")
        return start, end

    def _fill(self, start: int, end: int, need: int) -> tuple[int, int]:
        """Read until ``need`` bytes stand at ``start``, moved to the front of a buffer that is large enough."""
        have = end - start
        if need > len(self._buffer):
            larger = bytearray(need)
            larger[:have] = self._view[start:end]
            self._buffer = larger
            self._view = memoryview(larger)
        elif start:
            self._buffer[:have] = bytes(self._view[start:end])
        while have < need:
            got = self._sock.recv_into(self._view[have:])
            if got == 0:
                raise ProtocolError(f"the stream ended inside a frame, after {have} of {need} bytes")
            have += got
        return 0, have

    def encode(self, message: msgspec.Struct) -> bytearray:
        """The frame of a message whose decimals are wire decimals; valid until the next call."""
        return self._encoder.encode(message)

    def send(self, message: msgspec.Struct) -> None:
        """Write one message in one call."""
        self._sock.sendall(self._encoder.encode(message))

    def send_frame(self, frame: bytes | bytearray) -> None:
        """Write bytes that are frames already."""
        self._sock.sendall(frame)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()
