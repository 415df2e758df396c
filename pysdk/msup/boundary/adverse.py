"""``python -m msup.boundary.adverse``: the adverse I as a process, for tests in any language.

It prints ``ready`` when it listens. ``--respawn`` starts it again whenever it dies, with the next seed and without the
death, so that what follows can be watched.
"""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

from msup.boundary.link import SocketError
from msup.boundary.store import StoreError
from msup.boundary.testing import FAULTS, POINTS, AdverseReceiver, Faults, no_clock


def _arguments() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m msup.boundary.adverse",
        description="An I that misbehaves, all from a seed. It keeps its memory in execution.db and its effects in "
        "effects.jsonl of the store folder; no key may come twice in the latter.",
    )
    p.add_argument("--socket", required=True, type=Path, help="unix socket to listen on")
    p.add_argument("--store", required=True, type=Path, help="folder of its memory and its effects")
    p.add_argument("--seed", type=int, default=1, help="of everything that goes wrong (default: 1)")
    p.add_argument("--die-after", type=int, default=0, metavar="N", help="die at the N-th pass of --die-at")
    p.add_argument("--die-at", choices=POINTS, default="received", help="where (default: received)")
    p.add_argument(
        "--fault", action="append", default=[], metavar="NAME=P", help=f"with probability P: {', '.join(FAULTS)}"
    )
    p.add_argument("--stall-ms", type=int, default=20, help="the longest stall (default: 20)")
    p.add_argument("--forget", action="store_true", help="start with an empty memory; the effects stay")
    p.add_argument("--no-clock", action="store_true", help="let nothing expire: for feeds of the past")
    p.add_argument("--respawn", action="store_true", help="start again after every death")
    return p


def _faults(arguments: argparse.Namespace) -> Faults:
    chances: dict[str, float] = {}
    for text in arguments.fault:
        name, _, chance = text.partition("=")
        chances[name] = float(chance or 1)
    return Faults(
        die_after=arguments.die_after, die_at=arguments.die_at, stall_ms=arguments.stall_ms, chances=chances
    ).checked()


def _forget(folder: Path) -> None:
    for name in ("execution.db", "execution.db-wal", "execution.db-shm"):
        (folder / name).unlink(missing_ok=True)


def _serve(arguments: argparse.Namespace, faults: Faults) -> None:
    if arguments.forget:
        _forget(arguments.store)
    clock = no_clock if arguments.no_clock else time.time_ns
    receiver = AdverseReceiver(
        socket=arguments.socket, folder=arguments.store, seed=arguments.seed, faults=faults, clock=clock
    )
    receiver.on_ready = lambda: print("ready", flush=True)  # noqa: T201
    receiver.run()


def _respawn(arguments: argparse.Namespace) -> int:
    """Keep one running until SIGTERM. What made the first die is left out afterwards."""
    skipped = {"--respawn", "--forget"}
    own = [a for a in sys.argv[1:] if a not in skipped]
    ended = False
    child: subprocess.Popen[bytes] | None = None

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True
        if child is not None:
            child.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    first = [*own, "--forget"] if arguments.forget else own
    seed = arguments.seed
    while not ended:
        child = subprocess.Popen([sys.executable, "-m", "msup.boundary.adverse", *first, "--seed", str(seed)])
        if ended:  # since it was asked
            child.terminate()
        code = child.wait()
        if code > 0:  # it refused to start, and would again
            return code
        seed += 1
        first = [*own, "--die-after", "0"]
        time.sleep(0.02)
    return 0


def main() -> int:
    """The program."""
    parser = _arguments()
    arguments = parser.parse_args()
    logging.basicConfig(format="adverse: %(message)s")
    try:
        faults = _faults(arguments)
    except ValueError as error:
        parser.error(str(error))
    if arguments.respawn:
        return _respawn(arguments)
    try:
        _serve(arguments, faults)
    except (SocketError, StoreError) as error:
        print(f"adverse: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
