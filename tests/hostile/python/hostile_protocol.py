"""Strategies that lie to the supervisor, behind the SDK's back, or leave it."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time

import msup
from hostile_kit import Hostile, send, supervisor_socket
from msup import Context, Event

EMPTY = b"\x90\xc0\x90\x90\x90\xc0"  # intents, state updates, timers, compute, telemetry, fault
ANSWER = b"\x99\x03"  # an array of nine, of type answer


class Garbage(Hostile):
    """Writes bytes that are no message."""

    def act(self, ctx: Context) -> None:
        os.write(supervisor_socket(), b"\x00\x00\x00\x05hello")


class LengthBomb(Hostile):
    """Announces four gigabytes: refused before a byte is allocated."""

    def act(self, ctx: Context) -> None:
        os.write(supervisor_socket(), b"\xff\xff\xff\xff\x93")


class DeepBomb(Hostile):
    """Nests arrays until a careless decoder overflows its stack."""

    def act(self, ctx: Context) -> None:
        # An answer with one field more than this version knows, which a decoder has to skip.
        send(b"\x9a\x03\x02\x02" + EMPTY + b"\x91" * 60_000)


class Repeater(Hostile):
    """Answers a question that nobody asked, before the real answer."""

    def act(self, ctx: Context) -> None:
        send(ANSWER + b"\xcd\xff\xff\x01" + EMPTY)


class Twice(Hostile):
    """Answers the open question twice; the second answer waits for the next question."""

    def act(self, ctx: Context) -> None:
        send(ANSWER + b"\x02\x02" + EMPTY)


class WrongStep(Hostile):
    """Answers the open question with another step's number."""

    def act(self, ctx: Context) -> None:
        send(ANSWER + b"\x02\x63" + EMPTY)


class Impostor(Hostile):
    """Speaks the supervisor's part."""

    def act(self, ctx: Context) -> None:
        send(b"\x93\x02\x02\x02")


class BadText(Hostile):
    """An answer whose fault is no UTF-8, with a length that does not fit."""

    def act(self, ctx: Context) -> None:
        send(ANSWER + b"\x02\x02\x90\xc0\x90\x90\x90\x93\xa4\xff\xfe\xfd\xfc\xa1x\xdb\xff\xff\xff\xff")


class ManyIntents(Hostile):
    """Announces four billion intents in a frame of twenty bytes: nothing is allocated for them."""

    def act(self, ctx: Context) -> None:
        send(ANSWER + b"\x02\x02\xdd\xff\xff\xff\xff\xc0\x90\x90\x90\xc0")


class SocketFlood(Hostile):
    """Writes whole frames from threads as fast as the socket takes them."""

    def act(self, ctx: Context) -> None:
        frame = ANSWER + b"\xcd\xff\xff\x01" + EMPTY
        block = (len(frame).to_bytes(4, "big") + frame) * 4096
        fd = supervisor_socket()

        def flood() -> None:
            while True:
                os.write(fd, block)

        for _ in range(4):
            threading.Thread(target=flood, daemon=True).start()
        flood()


class Smuggler(Hostile):
    """Sends descriptors along with empty frames, to fill the supervisor's table."""

    def act(self, ctx: Context) -> None:
        with socket.socket(fileno=os.dup(supervisor_socket())) as s:
            for _ in range(64):
                socket.send_fds(s, [bytes(4)], [0] * 100)


class Mute(Hostile):
    """Never answers."""

    def act(self, ctx: Context) -> None:
        threading.Event().wait()


class HalfFrame(Hostile):
    """Begins a frame and does not end it."""

    def act(self, ctx: Context) -> None:
        os.write(supervisor_socket(), b"\x00\x00\xff\x00" + ANSWER)
        threading.Event().wait()


class Dripper(Hostile):
    """A byte every 20 ms: the deadline is one of the answer, not of a read."""

    def act(self, ctx: Context) -> None:
        fd = supervisor_socket()
        os.write(fd, b"\x00\x00\xff\x00" + ANSWER)
        while True:
            os.write(fd, b"\x90")
            time.sleep(0.02)


class HangUp(Hostile):
    """Closes the socket and stays."""

    def act(self, ctx: Context) -> None:
        os.close(supervisor_socket())
        while True:
            time.sleep(1000)


class Quitter(Hostile):
    """Leaves with a status that looks like a kill: it exited, and that is what is said."""

    def act(self, ctx: Context) -> None:
        os._exit(137)


class Leaver(Hostile):
    """Leaves as if all was well."""

    def act(self, ctx: Context) -> None:
        os._exit(0)


class Crasher(Hostile):
    """Reads address zero."""

    def act(self, ctx: Context) -> None:
        ctypes.string_at(0)


class Aborter(Hostile):
    """Aborts, and asks for a core file."""

    def act(self, ctx: Context) -> None:
        os.abort()


class StateBomb(Hostile):
    """A state of 64 MB: the SDK refuses it, the checkpoint before it stays."""

    class State(msup.State):
        """What is written."""

        data: bytes = b""

    def act(self, ctx: Context) -> None:
        self.state.data = bytes(64 << 20)


class ChunkLiar(Hostile):
    """Sends its state behind the SDK's back, with a size that it does not have."""

    def save_state(self) -> bytes:
        send(b"\x96\x04\x04\x00\xce\x7f\xff\xff\xff\x01\xc4\x01x")
        return b"x"

    def load_state(self, data: bytes) -> None:
        """Nothing."""

    def act(self, ctx: Context) -> None:
        """Nothing but this state."""


class StateMiser(Hostile):
    """Never gives its state."""

    def save_state(self) -> bytes:
        threading.Event().wait()
        return b""

    def load_state(self, data: bytes) -> None:
        """Nothing."""

    def act(self, ctx: Context) -> None:
        """Nothing but this state."""


class LateStop(Hostile):
    """Will not leave when asked to."""

    def on_shutdown(self, ctx: Context, reason: str) -> None:
        threading.Thread(target=threading.Event().wait).start()

    def on_event(self, ctx: Context, event: Event) -> None:
        """Nothing."""


class SlowFlood(Hostile):
    """Fills its socket with one frame as large as frames may be, but for the last bytes."""

    def act(self, ctx: Context) -> None:
        fd = supervisor_socket()
        os.write(fd, (60_000).to_bytes(4, "big") + ANSWER + bytes(59_900))
        threading.Event().wait()
