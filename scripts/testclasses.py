"""The classes of msup's tests: which commands each runs, and how their results are counted."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test"

# Fuzzing inside `make test`: ten seconds for these twelve, which read what strategies, other programs and old disks
# say. The seeds of every other one are tests of go-race; `make fuzz` gives each its ten.
FUZZ_DOORS = {
    "FuzzDecodeRunnerMessage",
    "FuzzDecodeBoundaryMessage",
    "FuzzDecodeEvent",
    "FuzzFrameReader",
    "FuzzDescriptor",
    "FuzzDeployment",
    "FuzzDecodeCheckpoint",
    "FuzzReadInput",
    "FuzzOpen",
    "FuzzInspect",
    "FuzzRequest",
    "FuzzOwnLines",
}
FUZZ_SECONDS = 10

# Packages without the race detector. Their runners are the test binary started again, so that it would slow the
# strategies, not only the supervisor (a module starts in a second instead of 15 ms), and their oracles are deadlines.
# What the supervisor does about such runners is raced in sandbox/process, sandbox/container and tests/sim; `go test
# -race ./tests/e2e` races the stories, which takes three times as long.
NOT_RACED = {"./sandbox/wasm", "./sandbox/wasm/wasmtest", "./sandbox/image", "./supervisor/pack", "./cmd/msup"}
# Packages that take minutes, and so no part of `make test-quick`.
MINUTES = NOT_RACED | {"./sandbox/container", "./statedb", "./supervisor/lease"}
NOT_RACED_FOLDERS = {"bench", "crash", "e2e", "hostile", "load", "replay"}

# Campaigns of one package whose processes are the test binary started a thousand times: the race detector makes each
# five times as dear, and the package's other tests race the same code.
CAMPAIGNS = {"./statedb": "^(TestEveryWriteMayFail|TestDamageIsDetectedOrHarmless)$"}

# Test names of the classes that look at the same files from three languages.
VECTORS = "[Vv]ector"


@dataclass
class Outcome:
    """What a class found."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list[str])
    did_not_run: list[str] = field(default_factory=list[str])

    def fail(self, problem: str) -> None:
        self.failed += 1
        self.problems.append(problem)

    def add(self, other: Outcome) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.problems += other.problems
        self.did_not_run += other.did_not_run


@dataclass(frozen=True)
class Command:
    """One command of a class, and how to read its output."""

    argv: list[str]
    read: Callable[[list[str], int], Outcome]
    timeout_s: int
    cwd: Path = ROOT
    env: dict[str, str] = field(default_factory=dict[str, str])
    # Tells, from all that was printed, that a failing exit code is a known fault of the tool and not a finding.
    excused: Callable[[str], bool] = lambda output: False


@dataclass(frozen=True)
class Class:
    """A named group of commands with one line in the result."""

    name: str
    commands: list[Command]
    at_once: int = 1

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def run(self, env: dict[str, str]) -> Outcome:
        LOGS.mkdir(parents=True, exist_ok=True)
        total = Outcome()

        def one(command: Command) -> Outcome:
            output: list[str] = []
            found = execute(command, env, output.append)
            if found.passed + found.failed + found.skipped == 0:
                found.fail(f"{' '.join(command.argv)}: no test ran")
            log.write("".join([f"$ {' '.join(command.argv)}\n", *output]))
            log.flush()
            return found

        with self.log.open("w") as log, ThreadPoolExecutor(self.at_once) as pool:
            for found in pool.map(one, self.commands):
                total.add(found)
        return total


class Children:
    """The process groups that run. After stop() they are killed, and no further one begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._stopped = False

    def start(self, argv: list[str], cwd: Path, env: dict[str, str]) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                raise InterruptedError(0, "interrupted")
            child = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._groups.add(child.pid)
            return child

    def kill(self, child: subprocess.Popen[str]) -> None:
        with self._lock:
            if child.pid in self._groups:
                self._kill(child.pid)

    def ended(self, child: subprocess.Popen[str]) -> None:
        with self._lock:
            self._groups.discard(child.pid)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for group in self._groups:
                self._kill(group)

    def _kill(self, group: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and its lane has not said so yet
            os.killpg(group, signal.SIGKILL)


children = Children()


def execute(command: Command, env: dict[str, str], write: Callable[[str], object]) -> Outcome:
    """Runs a command in a process group of its own, which is killed whole when its time is up."""
    try:
        child = children.start(command.argv, command.cwd, env | command.env)
    except OSError as error:
        outcome = Outcome()
        outcome.fail(f"{command.argv[0]}: {error.strerror}: run make setup")
        return outcome
    late = False
    try:
        output, _ = child.communicate(timeout=command.timeout_s)
    except subprocess.TimeoutExpired:
        late = True
        children.kill(child)
        output, _ = child.communicate()
    finally:
        children.ended(child)
    write(output)
    lines = output.splitlines()
    code = 0 if command.excused(output) else child.returncode
    outcome = command.read(lines, code)
    if late:
        outcome.fail(f"{' '.join(command.argv[:4])} … was killed after {command.timeout_s} s")
    elif code != 0 and outcome.failed == 0:
        tail = "\n    ".join(lines[-15:])
        outcome.fail(f"{' '.join(command.argv)} ended with {code}:\n    {tail}")
    return outcome


def not_run(lines: Iterable[str]) -> list[str]:
    found = (re.search(r"RECORDING NOT RUN: .*", line) for line in lines)
    return [match.group(0).rstrip() for match in found if match]


# -- reading what the runners print ----------------------------------------------------------------------------------


def read_plain(lines: list[str], code: int) -> Outcome:
    """A command that is one check: its exit code decides."""
    return Outcome(passed=1) if code == 0 else Outcome()


def read_silent(lines: list[str], code: int) -> Outcome:
    """A command that lists what is wrong and exits with 0 all the same (gofmt -l)."""
    if code == 0 and lines:
        outcome = Outcome()
        outcome.fail("not formatted: " + ", ".join(lines))
        return outcome
    return read_plain(lines, code)


def go_events(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("{"):
            try:
                event: object = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(event, dict):
                yield cast(dict[str, Any], event)


def read_go(lines: list[str], code: int) -> Outcome:
    """The stream of ``go test -json``. A test with subtests counts as its subtests."""
    outcome = Outcome()
    results: dict[tuple[str, str], str] = {}
    output: dict[tuple[str, str], list[str]] = {}
    builds: dict[str, list[str]] = {}
    for event in go_events(lines):
        where = (str(event.get("Package", "")), str(event.get("Test", "")))
        match event.get("Action"):
            case "output":
                output.setdefault(where, []).append(str(event.get("Output", "")))
            case "build-output":
                builds.setdefault(str(event.get("ImportPath", "")), []).append(str(event.get("Output", "")))
            case "pass" | "fail" | "skip" as action:
                results[where] = action
            case _:
                pass
    parents = {(package, name.rsplit("/", 1)[0]) for package, name in results if "/" in name}
    failed_packages = {package for (package, name), action in results.items() if name and action == "fail"}
    for (package, name), action in results.items():
        if not name:
            if action == "fail" and package not in failed_packages:
                told = "".join(output.get((package, ""), [])[-40:])
                outcome.fail(f"{package}: the package failed\n{indent(told)}")
            continue
        if (package, name) in parents and action != "fail":
            continue
        if action == "pass":
            outcome.passed += 1
        elif action == "skip":
            outcome.skipped += 1
            outcome.problems.append(f"{package} {name} was skipped")
        elif (package, name) not in parents or not any(
            other.startswith(name + "/") and act == "fail" for (pkg, other), act in results.items() if pkg == package
        ):
            outcome.fail(f"{package} {name}\n{indent(''.join(output.get((package, name), [])[-60:]))}")
    for told in builds.values():
        outcome.problems.append(indent("".join(told[-30:])))
    outcome.did_not_run = not_run(text for texts in output.values() for text in texts)
    return outcome


def read_cargo(lines: list[str], code: int) -> Outcome:
    counts: Counter[str] = Counter()
    for line in lines:
        found = re.match(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", line)
        if found:
            for kind, number in zip(("passed", "failed", "ignored"), found.groups(), strict=True):
                counts[kind] += int(number)
    outcome = Outcome(counts["passed"], 0, counts["ignored"], did_not_run=not_run(lines))
    if counts["failed"]:
        outcome.problems.append(indent("\n".join(lines[-40:])))
        outcome.failed = counts["failed"]
    return outcome


def read_pytest(report: Path) -> Callable[[list[str], int], Outcome]:
    """Reads the JUnit report: pytest's own closing line changes with its plugins."""

    def read(lines: list[str], code: int) -> Outcome:
        outcome = Outcome(did_not_run=not_run(lines))
        if not report.exists():
            return outcome
        suites = ElementTree.parse(report).getroot().iter("testsuite")
        for suite in suites:
            tests, failures, errors, skipped = (
                int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")
            )
            outcome.passed += tests - failures - errors - skipped
            outcome.failed += failures + errors
            outcome.skipped += skipped
        if outcome.failed:
            outcome.problems.append(indent("\n".join(lines[-60:])))
        return outcome

    return read


def read_summary(lines: list[str], code: int) -> Outcome:
    """A script that ends with msup's own closing line."""
    outcome = Outcome(did_not_run=not_run(lines))
    for line in reversed(lines):
        found = re.fullmatch(r"(\d+) passed, (\d+) failed", line.strip())
        if found:
            outcome.passed, outcome.failed = int(found[1]), int(found[2])
            break
    if outcome.failed:
        outcome.problems.append(indent("\n".join(lines[-60:])))
    return outcome


def indent(text: str) -> str:
    return "\n".join("    " + line for line in text.rstrip().splitlines())


# -- the classes -----------------------------------------------------------------------------------------------------


def go_packages() -> list[str]:
    """All packages of the module, relative to its top ("./ipc")."""
    listed = subprocess.run(
        ["go", "list", "-f", "{{.Dir}}", "./..."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        raise SystemExit(f"go list ./... failed:\n{listed.stderr}")
    return ["./" + str(Path(line).relative_to(ROOT)) for line in listed.stdout.splitlines()]


def go_test(packages: list[str], *flags: str, timeout_s: int) -> Command:
    # -p 2 for two cores: more packages at once only make each other's deadlines late. -count=1, because a
    # cached pass says nothing about the walls of this machine.
    argv = ["go", "test", "-json", "-p", "2", "-count=1", f"-timeout={timeout_s}s", *flags, *packages]
    return Command(argv, read_go, timeout_s + 60)


def pytest(name: str, paths: list[str], *flags: str, timeout_s: int) -> Command:
    report = LOGS / f"{name}.xml"
    report.unlink(missing_ok=True)
    argv = ["python", "-m", "pytest", "-q", f"--junitxml={report}", *flags, *paths]
    return Command(argv, read_pytest(report), timeout_s)


def cargo(
    *arguments: str, timeout_s: int, read: Callable[[list[str], int], Outcome] = read_plain, where: str = "wasmsdk"
) -> Command:
    return Command(["cargo", *arguments], read, timeout_s, cwd=ROOT / where, env={"RUSTDOCFLAGS": "-D warnings"})


def rust_examples() -> list[str]:
    """The strategies in Rust: workspaces of their own, as a user's are."""
    return sorted(str(path.parent.relative_to(ROOT)) for path in (ROOT / "examples").glob("*/Cargo.toml"))


def under(packages: list[str], *folders: str) -> list[str]:
    return [package for package in packages if any((package + "/").startswith(f"./{one}/") for one in folders)]


def check_class(packages: list[str]) -> Class:
    go_folders = sorted({package.split("/")[1] for package in packages if package.count("/")})
    shell = ["scripts/setup", "scripts/with-env", "scripts/fresh-clone", ".ci/run", *map(str, setup_parts())]
    plain: list[list[str]] = [
        ["go", "vet", "./..."],
        ["go", "run", "honnef.co/go/tools/cmd/staticcheck@v0.8.2", "./..."],
        ["ruff", "check", "--quiet"],
        ["ruff", "format", "--check", "--quiet"],
        ["pyright"],
        *(["bash", "-n", script] for script in shell),
    ]
    return Class(
        "check",
        [
            Command(["gofmt", "-l", *go_folders], read_silent, 120),
            *(Command(argv, read_plain, 600) for argv in plain),
            *(cargo("fmt", "--all", "--check", timeout_s=120, where=one) for one in ["wasmsdk", *rust_examples()]),
            *(
                cargo("clippy", "--all-targets", "--quiet", "--", "-D", "warnings", timeout_s=600, where=one)
                for one in ["wasmsdk", *rust_examples()]
            ),
            cargo("doc", "--no-deps", "--quiet", timeout_s=600),
            cargo("package", "--workspace", "--allow-dirty", "--no-verify", "--quiet", timeout_s=300),
        ],
    )


def setup_parts() -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / "scripts" / "setup.d").glob("*.sh"))


def fuzz_deadline_only(output: str) -> bool:
    """Go before 1.27 may report the end of -fuzztime as a failure (golang/go#75804): the coordinator sees its own
    deadline before its workers' context carries it. A real finding always names the input that it wrote."""
    ended = re.search(r"^--- FAIL: Fuzz\w+ \([\d.]+s\)\n +context deadline exceeded\nFAIL$", output, re.MULTILINE)
    return ended is not None and "now fuzzing with" in output and "Failing input written to" not in output


def fuzz_class(packages: list[str], seconds: int | None) -> Class:
    """The fuzz targets, two at a time with a worker each: the doors, or every one where seconds are given."""
    targets: list[tuple[str, str]] = []
    for package in packages:
        for file in sorted((ROOT / package).glob("*_test.go")):
            targets += [(package, name) for name in re.findall(r"^func (Fuzz\w*)\(", file.read_text(), re.MULTILINE)]
    missing = FUZZ_DOORS - {name for _, name in targets}
    if missing:
        raise SystemExit(f"no such fuzz target: {', '.join(sorted(missing))}")

    def fuzz(package: str, name: str, each: int) -> Command:
        argv = ["go", "test", "-run=^$", f"-fuzz=^{name}$", f"-fuzztime={each}s", "-fuzzminimizetime=3x", "-parallel=1"]
        return Command([*argv, package], read_plain, each + 240, excused=fuzz_deadline_only)

    return Class(
        "fuzz",
        [fuzz(package, name, seconds or FUZZ_SECONDS) for package, name in targets if seconds or name in FUZZ_DOORS],
        at_once=2,
    )


# Classes that run beside another, which mostly waits: none of them is judged by a clock, and none uses containers.
BESIDE = {"crash": ["fuzz"], "e2e": ["python", "replay", "sim"]}


def lanes(classes: list[Class]) -> list[list[list[Class]]]:
    """The classes in the order in which they run. Each step is one class, or two lanes of them at the same time."""
    beside = {name for names in BESIDE.values() for name in names if any(one.name in BESIDE for one in classes)}
    by_name = {one.name: one for one in classes}
    steps: list[list[list[Class]]] = []
    for one in classes:
        if one.name not in beside:
            other = [by_name[name] for name in BESIDE.get(one.name, []) if name in by_name]
            steps.append([[one], other] if other else [[one]])
    return steps


def plan(which: str, fuzz_seconds: int | None = None) -> list[Class]:
    """The classes of ``full``, ``quick``, ``check`` and ``fuzz``, cheap ones first."""
    packages = go_packages()
    if which == "check":
        return [check_class(packages)]
    if which == "fuzz":
        return [fuzz_class(packages, fuzz_seconds)]
    about_tree = under(packages, "tests/arch", "tests/capabilities")
    conformance = under(packages, "sandbox")
    conformance_raced = [one for one in conformance if one not in NOT_RACED]
    system = [package for package in under(packages, "tests") if package not in about_tree]
    units = [package for package in packages if package not in [*about_tree, *conformance, *system]]
    python_paths = [path for path in ("pysdk/tests", "examples", "tests/runner") if (ROOT / path).is_dir()]
    if which == "quick":
        return [
            Class("arch", [go_test(about_tree, timeout_s=120)]),
            Class("go", [go_test([one for one in units + conformance if one not in MINUTES], "-short", timeout_s=300)]),
            Class("python", [pytest("python", python_paths, timeout_s=180)]),
            Class("rust", [cargo("test", "--no-fail-fast", "--quiet", read=read_cargo, timeout_s=240)]),
        ]
    return [
        check_class(packages),
        Class("arch", [go_test(about_tree, timeout_s=120)]),
        Class(
            "vectors",
            [
                go_test(under(packages, "ipc/vectors"), "-run=.", timeout_s=180),
                pytest("vectors", ["pysdk/tests"], "-k", "vector", timeout_s=180),
                cargo("test", "--no-fail-fast", "--quiet", "vector", read=read_cargo, timeout_s=300),
            ],
        ),
        Class(
            "go-race",
            [
                go_test(
                    [one for one in units if one not in NOT_RACED],
                    "-race",
                    f"-skip={'|'.join([VECTORS, *CAMPAIGNS.values()])}",
                    timeout_s=600,
                ),
                go_test([one for one in units if one in NOT_RACED], timeout_s=600),
                *(go_test([one], f"-run={names}", timeout_s=600) for one, names in CAMPAIGNS.items()),
            ],
        ),
        Class("python", [pytest("python", python_paths, "-k", "not vector", timeout_s=300)]),
        Class(
            "rust",
            [
                cargo("test", "--no-fail-fast", "--quiet", "--", "--skip", "vector", read=read_cargo, timeout_s=300),
                *(
                    cargo("test", "--no-fail-fast", "--quiet", read=read_cargo, timeout_s=300, where=one)
                    for one in rust_examples()
                ),
            ],
        ),
        Class(
            "conformance",
            [
                go_test(conformance_raced, "-race", timeout_s=600),
                go_test([one for one in conformance if one not in conformance_raced], timeout_s=600),
            ],
        ),
        *system_classes(system),
        fuzz_class(packages, fuzz_seconds),
        Class("fresh-clone", [Command(["scripts/fresh-clone"], read_summary, 600)]),
    ]


def system_classes(packages: list[str]) -> list[Class]:
    """A class for each folder of tests/ that holds Go tests: e2e, hostile, crash, sim …"""
    by_folder: dict[str, list[str]] = {}
    for package in packages:
        if any((ROOT / package).glob("*_test.go")):
            by_folder.setdefault(package.split("/")[2], []).append(package)
    return [
        Class(name, [go_test(members, *([] if name in NOT_RACED_FOLDERS else ["-race"]), timeout_s=600)])
        for name, members in sorted(by_folder.items())
    ]
