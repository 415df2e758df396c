"""A server of the boundary library ends at a signal, wherever it comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import faulthandler, signal, sys, threading
from msup.boundary import MarketSource

lines = 0

def watch(frame, event, _):
    global lines
    if event == "line":
        lines += 1
        if lines == at:
            signal.raise_signal(signal.SIGINT)
    return watch

def ready():
    frame = sys._getframe(1)
    frame.f_trace = watch  # the one that waits, and what it calls
    sys.settrace(watch)

for at in range(1, 13):
    faulthandler.dump_traceback_later(20, exit=True)
    lines = 0
    server = MarketSource(socket=sys.argv[1])
    server.on_ready = ready
    server.run()
    sys.settrace(None)
    print(at, "ended", flush=True)
"""


def test_a_signal_is_heard_at_every_line(tmp_path: Path) -> None:
    """Between any two lines of the wait for the end, also those in which the standard library holds a lock.

    Proves: BC-I, LS-2
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "s")], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ended") == 12
