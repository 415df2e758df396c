"""Runs msup's tests by class, and prints for each class what passed, what failed, and how long it took.

``make test`` is ``runtests.py full``. Every class runs, whatever the earlier ones said, so that one run shows all
that is wrong; the run fails at its end if anything failed, if a class found nothing to run, or if a test was
skipped: msup's tests are never skipped, because a missing component must be seen. The one exception are the
recordings of real markets, which a clone of the repository does not hold. Tests that need them print a line that
begins with ``RECORDING NOT RUN:``; those lines are repeated at the end. With ``CI=true`` missing recordings are a
failure.

All that a class printed is in ``build/test/CLASS.log``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from testclasses import ROOT, Class, Outcome, children, lanes, plan

RECORDINGS_DEFAULT = ROOT.parent / "shared" / "data"
BUDGET_MINUTES = 25
# What failed is told again at the end, because some readers of a long run see only its last lines.
REPEATED = 4
REPEATED_LINES = 24


def recordings(env: dict[str, str]) -> Path | None:
    """The folder of real recordings, from MSUP_RECORDINGS or beside the repository; None where there is none."""
    folder = Path(env.get("MSUP_RECORDINGS") or RECORDINGS_DEFAULT)
    if not folder.is_absolute():
        folder = ROOT / folder
    return folder.resolve() if folder.is_dir() else None


def took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s"


def processor_time() -> tuple[float, float]:
    """What all processors of the machine have worked and could have worked since it started, in ticks."""
    ticks = [float(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # without idle, and waiting for a disk


def run_class(one: Class, env: dict[str, str]) -> Outcome:
    print(f"class {one.name}: running", flush=True)
    began, (worked, passed) = time.monotonic(), processor_time()
    outcome = one.run(env)
    if outcome.skipped:
        outcome.fail(f"{outcome.skipped} skipped: msup's tests are never skipped")
    if not one.commands:
        outcome.fail("the class is empty")
    for problem in outcome.problems:
        print(f"  {problem}")
    if outcome.failed:
        print(f"  all that was printed: {one.log.relative_to(ROOT)}")
    seconds, (worked_now, passed_now) = time.monotonic() - began, processor_time()
    # A class that leaves processors idle is one that could be made shorter.
    busy = (worked_now - worked) / max(passed_now - passed, 1)
    counts = f"{outcome.passed} passed, {outcome.failed} failed"
    print(f"class {one.name}: {counts}, {took(seconds)}, {busy:.0%} busy", flush=True)
    return outcome


def run_all(classes: list[Class], env: dict[str, str]) -> dict[str, Outcome]:
    """Runs the classes, some beside others, and gives their outcomes in the order of the plan."""
    outcomes: dict[str, Outcome] = {}

    def run_lane(lane: list[Class]) -> None:
        for one in lane:
            outcomes[one.name] = run_class(one, env)

    for step in lanes(classes):
        with ThreadPoolExecutor(len(step)) as pool:
            running = [pool.submit(run_lane, lane) for lane in step]
            try:
                for lane in running:
                    lane.result()
            except BaseException:
                children.stop()
                raise
    return {one.name: outcomes[one.name] for one in classes}


def brief(problem: str) -> str:
    """What failed, and how it begins and ends: a failed comparison stands first, a panic last."""
    lines = problem.splitlines()
    if len(lines) <= REPEATED_LINES:
        return problem
    return "\n".join([*lines[: REPEATED_LINES // 2], "    …", *lines[-REPEATED_LINES // 2 :]])


def summarise(outcomes: dict[str, Outcome], seconds: float, absent: bool, ci: bool) -> int:
    passed = sum(outcome.passed for outcome in outcomes.values())
    failed = sum(outcome.failed for outcome in outcomes.values())
    print()
    not_run = sorted({line for outcome in outcomes.values() for line in outcome.did_not_run})
    if absent:
        where = os.environ.get("MSUP_RECORDINGS") or "../shared/data"
        print(f"recordings of real markets are not there ({where}; MSUP_RECORDINGS names another folder)")
        if ci:
            print("with CI=true that is a failure")
            failed += 1
    for line in not_run:
        print(line)
    for name, outcome in outcomes.items():
        if outcome.failed:
            print(f"failed: {name} ({outcome.failed}), see build/test/{name}.log")
            for problem in outcome.problems[:REPEATED]:
                print(f"  {brief(problem)}")
    print(f"{len(outcomes)} classes in {took(seconds)}")
    if seconds > BUDGET_MINUTES * 60:
        print(f"longer than the {BUDGET_MINUTES} minutes that this may take: see which class grew")
    # Alone on its line, and in this form, because continuous integration reads it.
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("which", choices=["full", "quick", "check", "fuzz"])
    parser.add_argument("--only", metavar="CLASS", action="append", help="this class only; may be repeated")
    parser.add_argument("--fuzz-seconds", type=int, metavar="N", help="each fuzz target for N seconds")
    options = parser.parse_args(argv)

    env = dict(os.environ)
    ci = env.get("CI") == "true"
    found = recordings(env)
    if found:
        env["MSUP_RECORDINGS"] = str(found)
    classes = plan(options.which, options.fuzz_seconds)
    if options.only:
        names = [one.name for one in classes]
        unknown = [name for name in options.only if name not in names]
        if unknown:
            parser.error(f"no class {', '.join(unknown)}; there are: {', '.join(names)}")
        classes = [one for one in classes if one.name in options.only]

    began = time.monotonic()
    outcomes = run_all(classes, env)
    asked_for_recordings = options.which == "full"
    return summarise(outcomes, time.monotonic() - began, asked_for_recordings and found is None, ci)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
