"""The examples of the boundary, each as the process that a reader starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakem import ADDRESS, FOREVER, FakeM, eventually, offer, order
from msup.boundary import Approval, ApprovalRequest, Cursor, Resume, SourceEvent, intent_digest
from msup.event import ExecutionReport, Quote, RiskEvent
from msup.intent import Status

EXAMPLES = Path(__file__).parents[2] / "examples" / "boundary"

Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start an example; it must end in order on SIGTERM."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> Path:
        socket = tmp_path / "s"
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), str(socket), *arguments], stderr=subprocess.PIPE
        )
        started.append(process)

        def up() -> bool:
            assert process.poll() is None, process.communicate()[1].decode()
            return socket.exists()

        eventually(up)
        return socket

    yield start
    for process in started:
        process.terminate()
        _, complaint = process.communicate(timeout=10)
        assert process.returncode in (0, -15), complaint.decode()
        assert b"Traceback" not in complaint, complaint.decode()


# Proves: GT-5, BC-I
def test_execution(run: Run, tmp_path: Path) -> None:
    socket = run("execution.py", str(tmp_path / "i.db"))
    with FakeM(socket) as m:
        m.welcome()
        assert m.ask(offer(order(7), 7)).status is Status.COMMITTED
        assert [(e.report, e.price and str(e.price)) for e in m.executions()] == [
            (ExecutionReport.ACCEPTED, None),
            (ExecutionReport.FILLED, "100"),
        ]


# Proves: BC-H
def test_market(run: Run) -> None:
    with FakeM(run("market.py")) as m:
        quotes = [e.event for e in m.wait_for(3)]
        assert all(isinstance(q, Quote) and q.instrument == "SYN-A.SIM" for q in quotes)


# Proves: GT-7, BP-3
def test_risk(run: Run, tmp_path: Path) -> None:
    with FakeM(run("risk.py", str(tmp_path / "j.db"))) as m:
        m.send(Resume(0, ADDRESS, Cursor("", 0, 0)))
        event = m.wait_for(1)[0].event
        assert isinstance(event, RiskEvent)
        assert event.restriction.limit_only
        for step, quantity, approved in ((7, "10", True), (8, "11", False)):
            intent = order(step, quantity=quantity)
            answer = m.ask(ApprovalRequest(0, ADDRESS, 1, step, 0, intent_digest(intent), FOREVER, intent))
            assert isinstance(answer, Approval)
            assert answer.approved is approved
        assert isinstance(m.heard[0], SourceEvent)


# Proves: RS-2
@pytest.mark.parametrize("name", ["execution.py", "market.py", "risk.py"])
def test_ten_lines(name: str) -> None:
    """The promise is kept by the example's own part: what follows imports, without blank lines and the last two."""
    text = (EXAMPLES / name).read_text().split('"""', 2)[2]
    lines = [
        line for line in text.splitlines() if line.strip() and not line.startswith(("import", "from", "if __name__"))
    ]
    assert len(lines) <= 11, lines
