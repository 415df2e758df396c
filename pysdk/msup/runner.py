"""``python -m msup.runner``: one strategy instance behind one unix socket (PROTOCOL.md section 2).

Environment: ``MSUP_SOCKET`` path of the supervisor's socket · ``MSUP_ENTRY`` ``module:Class`` · ``MSUP_PACKAGE_HASH``
64 hex characters, repeated in the handshake · ``MSUP_STRATEGY_DIR`` folder of the strategy's code (default
``/strategy``) · ``MSUP_LAYER`` folder of its installed dependencies (optional) · ``MSUP_DETERMINISM`` ``on`` (default),
``strict`` or ``off``.

Order: connect, install determinism, import the strategy, Hello, then answer questions until Stop or the end of the
stream. All callbacks run in this one thread. What the strategy prints goes to stdout line by line, tracebacks to
stderr.

| exit code | meaning |
|---|---|
| 0 | Stop, or the end of the stream |
| 70 | the socket cannot be reached, or the supervisor broke the protocol |
| 78 | environment, entry, import or class declarations are wrong; one line on stderr begins ``msup: IMPORT_FAILED:`` |

An exception in a callback ends nothing: it becomes a fault in the answer. The answer then holds no effects, intents
made before the exception are dropped, and what the callback changed in memory stays changed, so the state counts as
suspect until a restore.
"""

from __future__ import annotations

import faulthandler
import gc
import io
import os
import signal
import socket
import sys
import traceback
from typing import Final, NoReturn, TextIO

import msgspec

from msup.codec import SupervisorDecoder
from msup.compute import is_part
from msup.computesession import ComputeSession
from msup.context import Context
from msup.determinism import install
from msup.entry import DEFAULT_STRATEGY_DIR, add_path, find
from msup.error import EntryError, MsupError, ProtocolError, StateError, tell
from msup.fault import make_fault, text_of
from msup.frame import FrameConnection
from msup.message import Answer, Batch, BatchAnswer, CheckpointRequest, Chunk, Deliver, Healthcheck, Init, Stop
from msup.session import Session
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here
from msup.state import ChunkReader, send_chunks
from msup.strategy import check_class

EXIT_OK: Final = 0
EXIT_PROTOCOL: Final = 70
EXIT_IMPORT: Final = 78


class Runner:
    """The blocking loop between a connection and a session."""

    def __init__(self, connection: FrameConnection, session: Session | ComputeSession) -> None:
        """Serve ``session`` on ``connection``."""
        self._connection = connection
        self._session = session
        self._decode = SupervisorDecoder().decode

    def serve(self, package_hash: str) -> None:
        """Say hello, then answer until Stop or the end of the stream. Raises ``ProtocolError``."""
        connection, session, decode = self._connection, self._session, self._decode
        connection.send(session.hello(package_hash))
        read, deliver, answer = connection.read, session.deliver, self._answer
        while True:
            payload = read()
            if payload is None:
                return
            message = decode(payload)
            kind = type(message)
            if kind is Deliver:
                answer(deliver(message))  # pyright: ignore[reportArgumentType]
            elif isinstance(message, Batch):
                answer(session.batch(message))
            elif isinstance(message, Healthcheck):
                connection.send(session.health(message))
            elif isinstance(message, CheckpointRequest):
                self._checkpoint(message)
            elif isinstance(message, Init):
                self._init(message)
            elif isinstance(message, Stop):
                return
            else:
                raise ProtocolError(f"a {kind.__name__} that was not announced by an init")

    def run(self, package_hash: str) -> int:
        """Serve, and say how it ended: the exit code."""
        try:
            self.serve(package_hash)
        except MsupError as error:
            tell(f"msup: PROTOCOL: {error}; the session is over")
            return EXIT_PROTOCOL
        except OSError as error:  # the supervisor closed the socket while an answer was under way
            tell(f"msup: the socket is gone: {error}")
        return EXIT_OK

    def _answer(self, answer: Answer | BatchAnswer) -> None:
        """Send an answer; one that cannot be written or is too long becomes a fault."""
        try:
            frame = self._connection.encode(answer)
        except BaseException as error:  # noqa: BLE001 - what is in the answer may be the strategy's own, and anything
            cause = f"the answer cannot be written: {text_of(error)}"
        else:
            size = len(frame) - 4
            if size <= self._session.max_answer_bytes:
                self._connection.send_frame(frame)
                return
            most = self._session.max_answer_bytes
            cause = f"the answer has {size} bytes; at most {most} are allowed: make fewer or smaller effects"
        fault = make_fault("bad_return", cause)
        empty = msgspec.structs.replace(
            answer, intents=[], state_updates=None, timers=[], compute=[], telemetry=[], fault=fault
        )  # fmt: skip
        self._connection.send(empty)

    def _init(self, message: Init) -> None:
        state = None if message.state_bytes is None else self._receive_state(message, message.state_bytes)
        answer = self._session.init(message, state)
        # A cyclic collection over a large heap is a pause of 100 ms; what on_init built will live as long as the
        # process.
        gc.collect()
        gc.freeze()
        self._answer(answer)

    def _receive_state(self, message: Init, total: int) -> bytes:
        try:
            reader = ChunkReader(message.seq, total, message.state_version)
            complete = False
            while not complete:
                payload = self._connection.read()
                if payload is None:
                    raise ProtocolError("the stream ended before the state was complete")
                chunk = self._decode(payload)
                if not isinstance(chunk, Chunk):
                    raise ProtocolError(f"a {type(chunk).__name__} among the chunks of the state")
                complete = reader.add(chunk)
            return reader.data()
        except StateError as error:
            raise ProtocolError(str(error)) from error

    def _checkpoint(self, message: CheckpointRequest) -> None:
        data = self._session.checkpoint(message)
        if isinstance(data, bytes):
            version = self._session.state_schema_version
            send_chunks(data, message.seq, version, self._connection.send)
        else:
            self._answer(data)


def environment(name: str) -> str:
    """A variable that the supervisor sets. Raises ``EntryError`` where it did not."""
    value = os.environ.get(name, "")
    if not value:
        raise EntryError(f"the environment variable {name} is not set; msup run sets it")
    return value


def _connect(path: str) -> FrameConnection:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise ProtocolError(f"cannot connect to MSUP_SOCKET={path}: {error}") from error
    return FrameConnection(sock)


def _start() -> Runner:
    connection = _connect(environment("MSUP_SOCKET"))
    context = Context()
    try:
        determinism = install(context, os.environ.get("MSUP_DETERMINISM", "on"))
    except ValueError as error:
        raise EntryError(str(error)) from error
    add_path(os.environ.get("MSUP_STRATEGY_DIR") or DEFAULT_STRATEGY_DIR, os.environ.get("MSUP_LAYER", ""))
    prepare = None if determinism is None else determinism.seed_numpy
    try:
        found = find(environment("MSUP_ENTRY"))
        session: Session | ComputeSession
        if is_part(found):
            session = ComputeSession(found, context, prepare)
        else:
            session = Session(check_class(found), context, prepare)
    except StateError as error:
        raise EntryError(str(error)) from error
    return Runner(connection, session)


def import_failed(error: EntryError) -> int:
    """Say on stderr why the strategy cannot be had; the exit code."""
    if error.__cause__ is not None:
        traceback.print_exception(error.__cause__)
    tell("msup: IMPORT_FAILED: " + " ".join(str(error).splitlines()))
    return EXIT_IMPORT


def _run() -> int:
    try:
        package_hash = environment("MSUP_PACKAGE_HASH")
        runner = _start()
    except EntryError as error:
        return import_failed(error)
    except MsupError as error:
        tell(f"msup: PROTOCOL: {error}")
        return EXIT_PROTOCOL
    return runner.run(package_hash)


def main() -> NoReturn:
    """Run until the session ends; then leave at once, whatever threads the strategy has."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C in a terminal is for the supervisor, which then stops its runners
    faulthandler.enable()
    streams: list[TextIO] = [sys.stdout, sys.stderr]
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    code = _run()
    for stream in streams:
        try:  # noqa: SIM105 - contextlib calls builtins that the strategy may have rebound
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads the log any more, or the strategy closed it
    os._exit(code)


if __name__ == "__main__":
    main()
