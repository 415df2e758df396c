"""The runner of make test counts what it should: a wrong count would hide a failure from everyone."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import runtests  # noqa: E402
import testclasses  # noqa: E402
from testclasses import Class, Command, Outcome  # noqa: E402


def event(action: str, test: str = "", output: str = "", package: str = "p") -> str:
    fields = {"Action": action, "Package": package, "Test": test, "Output": output}
    return json.dumps({key: value for key, value in fields.items() if value})


def test_go_counts_subtests_and_not_their_parents() -> None:
    lines = [
        event("pass", "TestA/x"),
        event("pass", "TestA/y"),
        event("pass", "TestA"),
        event("pass", "TestB"),
        event("pass"),
    ]
    found = testclasses.read_go(lines, 0)
    assert (found.passed, found.failed, found.skipped) == (3, 0, 0)


def test_go_shows_the_failed_test_once_with_its_output() -> None:
    lines = [
        event("output", "TestA/x", "gate_test.go:3: size is 2, want 1\n"),
        event("fail", "TestA/x"),
        event("pass", "TestA/y"),
        event("fail", "TestA"),
        event("fail"),
    ]
    found = testclasses.read_go(lines, 1)
    assert (found.passed, found.failed) == (1, 1)
    assert "size is 2, want 1" in found.problems[0]


def test_the_end_names_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    said = "\n".join(f"    line {number}" for number in range(60))
    outcome = Outcome(passed=3)
    outcome.fail(f"p TestA/x\n{said}")
    assert runtests.summarise({"go-race": outcome}, 60, absent=False, ci=True) == 1
    shown = capsys.readouterr().out
    assert "failed: go-race (1)" in shown
    assert "p TestA/x" in shown
    assert "line 3\n" in shown
    assert "line 30\n" not in shown
    assert "line 59" in shown


def test_go_parent_that_fails_by_itself_counts() -> None:
    lines = [event("pass", "TestA/x"), event("fail", "TestA"), event("fail")]
    found = testclasses.read_go(lines, 1)
    assert (found.passed, found.failed) == (1, 1)


def test_go_package_that_does_not_build_or_panics_counts() -> None:
    lines = [
        json.dumps({"Action": "build-output", "ImportPath": "p", "Output": "p.go:1: undefined: x\n"}),
        event("fail", package="p"),
        event("pass", "TestB", package="q"),
    ]
    found = testclasses.read_go(lines, 1)
    assert (found.passed, found.failed) == (1, 1)
    assert any("undefined: x" in problem for problem in found.problems)


def test_go_skips_and_what_did_not_run_are_seen() -> None:
    lines = [
        event("output", "TestA", "    x_test.go:9: RECORDING NOT RUN: TestA needs x.gz\n"),
        event("pass", "TestA"),
        event("skip", "TestB"),
    ]
    found = testclasses.read_go(lines, 0)
    assert found.skipped == 1
    assert found.did_not_run == ["RECORDING NOT RUN: TestA needs x.gz"]


def test_cargo_sums_its_binaries() -> None:
    lines = [
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
    ]
    found = testclasses.read_cargo(lines, 101)
    assert (found.passed, found.failed, found.skipped) == (4, 2, 1)


def test_pytest_is_read_from_its_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>')
    found = testclasses.read_pytest(report)(["…"], 1)
    assert (found.passed, found.failed, found.skipped) == (3, 2, 2)


def test_gofmt_names_files_and_exits_with_zero() -> None:
    assert testclasses.read_silent(["ipc/x.go"], 0).failed == 1
    assert testclasses.read_silent([], 0).passed == 1


def run(argv: list[str], timeout_s: int = 20) -> Outcome:
    one = Class("runner-self-test", [Command(argv, testclasses.read_summary, timeout_s)])
    try:
        return runtests.run_class(one, dict(os.environ))
    finally:
        one.log.unlink(missing_ok=True)


def test_a_command_that_runs_nothing_fails() -> None:
    assert run(["true"]).failed == 1


def test_a_command_that_fails_without_a_count_fails() -> None:
    assert run(["sh", "-c", "echo '3 passed, 0 failed'; exit 4"]).failed == 1


def test_a_command_that_is_not_there_fails() -> None:
    assert run(["/nonexistent/tool"]).failed == 1


def test_a_skip_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def read(lines: list[str], code: int) -> Outcome:
        return Outcome(passed=1, skipped=1)

    one = Class("runner-self-test", [Command(["true"], read, 20)])
    assert runtests.run_class(one, dict(os.environ)).failed == 1
    one.log.unlink()
    assert "never skipped" in capsys.readouterr().out


def test_a_command_that_hangs_is_killed_with_its_children() -> None:
    began = time.monotonic()
    # The child keeps the pipe open: killing the shell alone would wait for it.
    found = run(["sh", "-c", "sleep 60 & echo '1 passed, 0 failed'; wait"], timeout_s=1)
    assert time.monotonic() - began < 30
    assert (found.passed, found.failed) == (1, 1)


def test_an_empty_class_fails() -> None:
    assert runtests.run_class(Class("runner-self-test", []), dict(os.environ)).failed == 1


@pytest.mark.parametrize(("absent", "ci", "code"), [(False, True, 0), (True, False, 0), (True, True, 1)])
def test_missing_recordings_fail_only_in_ci(
    absent: bool, ci: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {"e2e": Outcome(passed=2, did_not_run=["RECORDING NOT RUN: TestB needs y.zip"])}
    assert runtests.summarise(outcomes, 1.0, absent=absent, ci=ci) == code
    printed = capsys.readouterr().out.splitlines()
    assert "RECORDING NOT RUN: TestB needs y.zip" in printed
    assert printed[-1] == f"2 passed, {code} failed"


def test_recordings_are_found_by_name_or_beside(tmp_path: Path) -> None:
    assert runtests.recordings({"MSUP_RECORDINGS": str(tmp_path)}) == tmp_path.resolve()
    assert runtests.recordings({"MSUP_RECORDINGS": str(tmp_path / "absent")}) is None


FUZZ_ENDED = """\
fuzz: elapsed: 1s, gathering baseline coverage: 307/307 completed, now fuzzing with 2 workers
fuzz: elapsed: 9s, execs: 74382 (0/sec), new interesting: 10 (total: 317)
--- FAIL: FuzzFrame (9.03s)
    context deadline exceeded
FAIL
exit status 1
FAIL\tgithub.com/msup/msup/ipc\t9.032s
"""


def test_the_end_of_fuzzing_is_no_finding() -> None:
    assert testclasses.fuzz_deadline_only(FUZZ_ENDED)


@pytest.mark.parametrize(
    "output",
    [
        FUZZ_ENDED.replace("FAIL\nexit", "    Failing input written to testdata/fuzz/FuzzFrame/1\nFAIL\nexit"),
        FUZZ_ENDED + "    Failing input written to testdata/fuzz/FuzzFrame/1\n",
        FUZZ_ENDED.replace("    context deadline exceeded\n", "    panic: index out of range\n"),
        FUZZ_ENDED.replace(", now fuzzing with 2 workers", ""),
    ],
)
def test_a_finding_of_fuzzing_is_never_excused(output: str) -> None:
    assert not testclasses.fuzz_deadline_only(output)


def test_an_excused_command_passes(tmp_path: Path) -> None:
    script = tmp_path / "fails.sh"
    script.write_text("echo known fault; exit 1\n")
    command = Command(["bash", str(script)], testclasses.read_plain, 10, excused=lambda output: "known fault" in output)
    assert testclasses.execute(command, dict(os.environ), lambda text: None).passed == 1
    unexcused = Command(["bash", str(script)], testclasses.read_plain, 10)
    assert testclasses.execute(unexcused, dict(os.environ), lambda text: None).failed == 1


def test_every_class_runs_once_and_the_waiting_one_has_company() -> None:
    names = ["check", "python", "e2e", "load", "replay", "sim"]
    steps = testclasses.lanes([Class(name, []) for name in names])
    said = [[[one.name for one in lane] for lane in step] for step in steps]
    assert said == [[["check"]], [["e2e"], ["python", "replay", "sim"]], [["load"]]]
    # Where the waiting one is not asked for, its company runs alone.
    alone = testclasses.lanes([Class(name, []) for name in ["python", "sim"]])
    assert [[one.name for one in step[0]] for step in alone] == [["python"], ["sim"]]


def test_an_interrupt_ends_what_runs_in_every_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    children = testclasses.Children()
    monkeypatch.setattr(testclasses, "children", children)
    monkeypatch.setattr(runtests, "children", children)
    began = time.monotonic()
    sleeper = Class("runner-self-test", [Command(["sleep", "60"], testclasses.read_plain, 100)])

    def interrupted(one: Class, env: dict[str, str]) -> Outcome:
        if one is sleeper:
            return one.run(env)
        while not children._groups:  # pyright: ignore[reportPrivateUsage]
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(runtests, "run_class", interrupted)
    monkeypatch.setattr(runtests, "lanes", lambda classes: [[[one] for one in classes]])  # pyright: ignore
    with pytest.raises(KeyboardInterrupt):
        runtests.run_all([Class("x", []), sleeper], dict(os.environ))
    assert time.monotonic() - began < 30
    sleeper.log.unlink(missing_ok=True)
