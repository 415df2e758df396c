"""The supervisor's side of a runner session, played by a test: a real socket and a real subprocess."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from msup import Fault, Instrument, Lane, Quote, RunMode
from msup.codec import Decoder, encode, frame
from msup.dec import to_dec
from msup.event import Event
from msup.frame import FrameConnection
from msup.limit import MAX_ANSWER_BYTES, MAX_STATE_BYTES
from msup.message import (
    Address,
    Answer,
    Batch,
    BatchAnswer,
    BatchEvent,
    CheckpointRequest,
    Chunk,
    Deliver,
    Hello,
    Init,
    RunnerMessage,
    Stop,
)
from msup.state import send_chunks
from msup.testing import DEFAULT_RISK
from msup.wire import Wire

T = TypeVar("T")

HASH = "ab" * 32
START = 1_767_225_600_000_000_000
BTC = Instrument.of("BTCUSDT", tick="0.01", lot="0.001", base="BTC", quote="USDT", venue="BINANCE")
ADDRESS = Address("bot", "strategy", "instance")
LINEAGE = bytes(range(16))

_decoder: Decoder[RunnerMessage] = Decoder(RunnerMessage)


def quote(bid: str = "64000.10", ask: str = "64000.12", seq: int = 1) -> Quote:
    """A quote of BTCUSDT."""
    one = to_dec(1)
    return Quote("BTCUSDT", "test", START, START, seq, seq, 0, to_dec(bid), one, to_dec(ask), one)


class FakeSupervisor:
    """Starts ``python -m msup.runner`` and asks it questions, one at a time."""

    def __init__(self, folder: Path, *, entry: str = "strategy:S", env: dict[str, str] | None = None) -> None:
        """Listen, start the runner on ``folder``."""
        # A path of its own: a unix socket's path may have 107 bytes, pytest's folders are longer.
        self._dir = tempfile.TemporaryDirectory(prefix="msup")
        path = str(Path(self._dir.name) / "s")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.settimeout(20)
        self._listener.bind(path)
        self._listener.listen(1)
        package = Path(__file__).parents[1]
        variables = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(package),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MSUP_SOCKET": path,
            "MSUP_ENTRY": entry,
            "MSUP_PACKAGE_HASH": HASH,
            "MSUP_STRATEGY_DIR": str(folder),
            **(env or {}),
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "msup.runner"],
            env=variables,
            stdout=self._out,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )
        self.connection: FrameConnection | None = None
        self.socket: socket.socket | None = None
        self.seq = 0
        self.step = 0
        self.now = START

    # --- session -----------------------------------------------------------------------------------------------------

    def accept(self) -> Hello:
        """Take the connection and its hello."""
        self.socket, _ = self._listener.accept()
        self.socket.settimeout(20)
        self.connection = FrameConnection(self.socket, from_runner=True)
        return self.read(Hello)

    def init(
        self,
        config: dict[str, Any] | None = None,
        *,
        state: bytes | None = None,
        state_version: int = 0,
        step: int = 1,
        mode: RunMode = RunMode.LIVE,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        max_intents: int = 256,
        trace_id: str = "t-1",
    ) -> Answer:
        """Ask for on_init and send the state; hello must have been read."""
        self.step = step
        self.ask(
            Init(
                self.next_seq(), step, self.now, trace_id, ADDRESS, "1.0.0", LINEAGE, "run-1", 1, Lane.LL, mode, 7,
                config or {}, [BTC], DEFAULT_RISK, state is not None, state_version,
                None if state is None else len(state), max_answer_bytes, MAX_STATE_BYTES, max_intents,
            )
        )  # fmt: skip
        if state is not None:
            send_chunks(state, self.seq, state_version, self.ask)
        return self.read(Answer)

    def begin(self, config: dict[str, Any] | None = None, **options: Any) -> Answer:
        """Hello and init; a fault fails the test."""
        self.accept()
        answer = self.init(config, **options)
        assert answer.fault is None, answer.fault
        return answer

    def deliver(self, event: Event, *, after_ns: int = 1_000_000, trace_id: str = "") -> Answer:
        """One step."""
        self.step += 1
        self.now += after_ns
        self.ask(Deliver(self.next_seq(), self.step, self.now, trace_id, event))
        answer = self.read(Answer)
        assert (answer.seq, answer.step) == (self.seq, self.step)
        return answer

    def fault(self, event: Event) -> Fault:
        """One step that must fault."""
        answer = self.deliver(event)
        assert answer.fault is not None
        assert answer.intents == []
        return answer.fault

    def batch(self, events: list[Event]) -> BatchAnswer:
        """A batch of steps, 1 ms apart."""
        rows = [BatchEvent(self.now + (i + 1) * 1_000_000, "", event) for i, event in enumerate(events)]
        self.ask(Batch(self.next_seq(), self.step + 1, rows))
        answer = self.read(BatchAnswer)
        self.step += answer.consumed
        self.now += answer.consumed * 1_000_000
        return answer

    def checkpoint(self, max_bytes: int = MAX_STATE_BYTES) -> tuple[int, bytes] | Fault:
        """The state's version and bytes, or the fault."""
        self.ask(CheckpointRequest(self.next_seq(), self.step, max_bytes))
        data = bytearray()
        while True:
            message = self.read()
            if isinstance(message, Answer):
                assert message.fault is not None
                return message.fault
            assert isinstance(message, Chunk)
            assert (message.seq, message.offset) == (self.seq, len(data))
            data += message.data
            if len(data) == message.total:
                return message.state_version, bytes(data)

    def stop(self) -> int:
        """Ask the runner to leave; its exit code."""
        self.ask(Stop(self.next_seq()))
        return self.exit_code()

    # --- plumbing ----------------------------------------------------------------------------------------------------

    def next_seq(self) -> int:
        """The number of the next question."""
        self.seq += 1
        return self.seq

    def ask(self, message: Wire) -> None:
        """Send any message."""
        self.send_bytes(frame(encode(message)))

    def send_bytes(self, raw: bytes) -> None:
        """Send raw bytes."""
        assert self.socket is not None
        self.socket.sendall(raw)

    def read(self, kind: type[T] = Wire) -> T:
        """The next message, which must be of this kind."""
        assert self.connection is not None
        payload = self.connection.read()
        assert payload is not None, f"the runner is gone: {self.stderr()}"
        message = _decoder.decode(payload)
        assert isinstance(message, kind), message
        return message

    def ended(self) -> bool:
        """Whether the runner has closed its end."""
        assert self.connection is not None
        return self.connection.read() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the runner."""
        self.process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the end."""
        return self.process.wait(20)

    def hang_up(self) -> None:
        """Close the supervisor's end."""
        assert self.socket is not None
        self.socket.close()

    def stderr(self) -> str:
        """What the runner wrote to stderr so far."""
        self._log.seek(0)
        return self._log.read().decode()

    def stdout(self) -> str:
        """What it wrote to stdout so far."""
        self._out.seek(0)
        return self._out.read().decode()

    def close(self) -> None:
        """End everything."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        if self.socket is not None:
            self.socket.close()
        self._listener.close()
        self._log.close()
        self._out.close()
        self._dir.cleanup()
