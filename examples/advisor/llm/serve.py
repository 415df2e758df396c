"""A language model that says what its script says, by HTTP over a unix socket; with a command, while that runs.

    examples/advisor/llm/serve.py --socket examples/advisor/llm.sock -- bin/msup run -c examples/advisor/msup.toml

Each question takes the next line of the script, over and over: what to propose for the instrument that was asked about,
or, under "raw", what to say whatever was asked. It stands for a gateway to a real model, which would be asked for
structured output of the same shape.
"""

from __future__ import annotations

import argparse
import itertools
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("script.jsonl")
MAX_BYTES = 8192


class Script:
    """The lines, in turn."""

    def __init__(self, file: Path) -> None:
        """Read the script; a line is JSON."""
        text = file.read_text(encoding="utf-8")
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line]
        self.turns: Iterator[int] = itertools.count()

    def say(self, question: dict[str, Any]) -> bytes:
        """What the next line says to a question. Ids are never used twice."""
        turn = next(self.turns)
        line = self.lines[turn % len(self.lines)]
        if "raw" in line:
            return str(line["raw"]).encode()
        proposals = [
            {"proposal": f"turn-{turn}-{number}", "instrument": question["instrument"], **proposal}
            for number, proposal in enumerate(line["propose"])
        ]
        return json.dumps({"proposals": proposals}).encode()


class Handler(BaseHTTPRequestHandler):
    """One question, one answer."""

    script: Script

    def do_POST(self) -> None:
        """Answer with the script's next line."""
        size = int(self.headers.get("Content-Length", "0"))
        try:
            status, answer = 200, self.answer(json.loads(self.rfile.read(min(size, MAX_BYTES))))
        except (ValueError, KeyError, TypeError) as wrong:
            sys.stderr.write(f"a question that makes no sense: {wrong}\n")
            status, answer = 400, b'{"error": "bad question"}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, question: dict[str, Any]) -> bytes:
        """The body that answers a question."""
        if self.path != "/v1/propose":
            raise ValueError(f"there is no {self.path}")
        return self.script.say(question)

    def address_string(self) -> str:
        """A unix socket has no address."""
        return "unix"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing about what went well."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A thread for each connection, ended with the program."""

    daemon_threads = True
    block_on_close = False


def main() -> int:
    """Serve until the command ends, or until it is interrupted."""
    parser = argparse.ArgumentParser(description="Serve a scripted model over a unix socket.")
    parser.add_argument("--socket", type=Path, default=Path("llm.sock"))
    parser.add_argument("--script", type=Path, default=SCRIPT)
    parser.add_argument("command", nargs="*", help="run this, and end with it")
    given = parser.parse_args()
    Handler.script = Script(given.script)
    given.socket.unlink(missing_ok=True)
    with Server(str(given.socket), Handler) as server:
        try:
            if not given.command:
                server.serve_forever()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return subprocess.run(given.command, check=False).returncode
        except KeyboardInterrupt:
            return 130
        finally:
            given.socket.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
