"""Serve the model by HTTP over a unix socket; with a command behind it, for as long as that runs.

    examples/fair_value/model/serve.py --socket examples/fair_value/model.sock -- \\
        bin/msup run -c examples/fair_value/msup.toml

It knows nothing of msup: any service that answers application/json to a POST can stand in its place. Python's own
library is all it needs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socketserver
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

WEIGHTS = Path(__file__).with_name("weights.json")
MAX_BYTES = 4096


class Model:
    """The fitted regression."""

    def __init__(self, file: Path) -> None:
        """Read what train.py wrote."""
        text = file.read_bytes()
        fitted = json.loads(text)
        self.weights: dict[str, float] = fitted["weights"]
        self.constant: float = fitted["constant"]
        self.name = "ridge-" + hashlib.sha256(text).hexdigest()[:8]

    def expect(self, question: dict[str, float]) -> dict[str, float | str]:
        """The expected return, and who says so."""
        expected = self.constant + sum(weight * question[name] for name, weight in self.weights.items())
        return {"expected_bp": round(expected, 4), "model": self.name}


class Handler(BaseHTTPRequestHandler):
    """One question, one answer."""

    model: Model

    def do_POST(self) -> None:
        """Answer a question that has all the features."""
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

    def answer(self, question: dict[str, float]) -> bytes:
        """The body that answers a question."""
        if self.path != "/v1/expect":
            raise ValueError(f"there is no {self.path}")
        return json.dumps(self.model.expect(question)).encode()

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
    parser = argparse.ArgumentParser(description="Serve the model over a unix socket.")
    parser.add_argument("--socket", type=Path, default=Path("model.sock"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("command", nargs="*", help="run this, and end with it")
    given = parser.parse_args()
    Handler.model = Model(given.weights)
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
