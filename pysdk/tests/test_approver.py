"""J's and E's side, and H's: what M's side may rely on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakem import ADDRESS, FOREVER, FakeM, eventually, order
from msup.boundary import (
    Address,
    Approval,
    ApprovalRequest,
    Approver,
    Cursor,
    Decision,
    MarketSource,
    Query,
    Refused,
    Requested,
    Resume,
    RiskHandler,
    SourceEvent,
    approve,
    deny,
    intent_digest,
)
from msup.dec import to_dec
from msup.error import ProtocolError
from msup.event import Quote, RiskEvent, SafetyCommand, SafetyEvent
from msup.intent import Intent

Make = Callable[..., Approver]


class Judge(RiskHandler):
    """Says what it is told to say."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.seen: queue.Queue[Address] = queue.Queue()
        self.says: Callable[[Requested], Any] = lambda _: approve()

    def on_request(self, request: Requested) -> Decision | None:
        self.asked.append(request.key)
        return self.says(request)

    def on_instance(self, address: Address) -> None:
        self.seen.put(address)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start an approver in the test's folder."""
    running: list[Approver] = []

    def start(handler: RiskHandler, **options: Any) -> Approver:
        made = Approver(handler, socket=tmp_path / "j.sock", store=tmp_path / "j.db", **options)
        made.start()
        running.append(made)
        return made

    yield start
    for made in running:
        made.stop()


def request(intent: Intent, *, epoch: int = 1, valid_until: int = FOREVER) -> ApprovalRequest:
    return ApprovalRequest(0, ADDRESS, epoch, 7, 0, intent_digest(intent), valid_until, intent)


# Proves: GT-7
def test_a_request_is_answered_once_and_the_same_for_ever(make: Make) -> None:
    judge = Judge()
    j = make(judge)
    with FakeM(j.socket) as m:
        assert m.ask(request(order(7))).approved
        judge.says = lambda _: deny("TOO_LARGE")
        assert m.ask(request(order(7))).approved, "a decision stands"
        denied = m.ask(request(order(8)))
        assert (denied.approved, denied.reason, denied.key) == (False, "TOO_LARGE", order(8).meta.key)
        assert m.ask(request(order(7, quantity="2"))).reason == "KEY_CONFLICT"
        assert m.ask(msgspec.structs.replace(request(order(9)), digest=bytes(32))).reason == "DIGEST_MISMATCH"
        assert m.ask(request(order(9), valid_until=time.time_ns() - 1)).reason == "VALID_UNTIL_PASSED"
        assert not m.ask(request(order(9), epoch=2)).approved
        assert m.ask(request(order(10), epoch=1)).reason == "EPOCH_PASSED"
    j.stop()
    judge.says = lambda _: approve()
    j = make(judge)
    with FakeM(j.socket) as m:
        assert m.ask(request(order(8), epoch=2)).reason == "TOO_LARGE", "decisions are durable"
    assert judge.asked == [order(7).meta.key, order(8).meta.key, order(9).meta.key]


# Proves: GT-7
def test_a_request_may_be_left_open_and_answered_later(make: Make) -> None:
    judge = Judge()

    def nobody_knows(_: Requested) -> Any:
        raise RuntimeError

    judge.says = nobody_knows
    j = make(judge)
    key = order(7).meta.key
    with FakeM(j.socket) as m:
        m.send(msgspec.structs.replace(request(order(7)), seq=5))
        eventually(lambda: judge.asked)
        judge.says = lambda _: None
        m.send(msgspec.structs.replace(request(order(7)), seq=6))
        eventually(lambda: len(judge.asked) == 2)
        j.answer(key, approve("BY_HAND"))
        answer = m.receive()
        assert answer == Approval(6, ADDRESS, key, True, "BY_HAND")
        with pytest.raises(KeyError):
            j.answer(key, approve())


# Proves: BP-3, BC-H
def test_restrictions_and_commands_are_numbered_durable_and_repeated(make: Make) -> None:
    judge = Judge()
    j = make(judge)
    # Nobody is connected yet.
    source = j.restrict(ADDRESS, "limits", limit_only=True, size_factor="0.5", reason="VOLATILE").source
    with FakeM(j.socket) as m:
        refused = m.ask(Resume(0, ADDRESS, Cursor(source, 9, 9)))
        assert (type(refused), refused.reason) == (Refused, "CURSOR_AHEAD")
        m.send(Resume(0, ADDRESS, Cursor("", 0, 0)))
        j.release(ADDRESS, "limits")
        last = j.command(ADDRESS, SafetyCommand.CANCEL_ALL, "PANIC")
        told = m.wait_for(3)
        assert [e.cursor.seq for e in told] == [1, 2, 3]
        first, released, command = (e.event for e in told)
        assert isinstance(first, RiskEvent)
        assert (first.restriction.limit_only, str(first.restriction.size_factor)) == (True, "0.5")
        assert isinstance(released, RiskEvent)
        assert released.release
        assert isinstance(command, SafetyEvent)
        assert (command.command, told[2].cursor) == (SafetyCommand.CANCEL_ALL, last)
        m.ack(last)
        assert judge.seen.get(timeout=5) == ADDRESS
        assert j.instances() == [ADDRESS]
        m.send(Resume(0, ADDRESS, told[0].cursor))
        assert m.wait_for(5)[3:] == told[1:]
    j.stop()
    j = make(judge)
    with FakeM(j.socket) as m:
        m.send(Resume(0, ADDRESS, Cursor("", 0, 0)))
        assert m.wait_for(3) == told, "an older ledger may ask for what was acknowledged"
    with pytest.raises(ValueError, match=r"0\.\.1"):
        j.restrict(ADDRESS, "limits", size_factor=2)
    with pytest.raises(ProtocolError):
        j.restrict(ADDRESS, "x" * 200, no_trade=True)


# Proves: BP-3, BC-J
def test_a_place_in_a_lost_store_is_none_in_this_one(make: Make) -> None:
    """M has three events of the store that was lost; this one has three of its own, and M needs them all."""
    j = make(Judge())
    said = [j.restrict(ADDRESS, name, no_trade=True) for name in ("a", "b", "c")]
    for lost in (Cursor("risk-lost", said[2].source_epoch, 3), Cursor("risk-lost", 9, 9)):
        with FakeM(j.socket) as m:
            m.send(Resume(0, ADDRESS, lost))
            assert [e.cursor for e in m.wait_for(3)] == said
    with FakeM(j.socket) as m:
        m.send(Resume(0, ADDRESS, said[1]))  # of its own it counts on
        assert [e.cursor for e in m.wait_for(1)] == said[2:]


# Proves: BP-3
def test_another_store_is_another_source(make: Make, tmp_path: Path) -> None:
    j = make(Judge())
    first = j.restrict(ADDRESS, "a", no_trade=True)
    j.stop()
    for name in ("j.db", "j.db-wal", "j.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    j = make(Judge())
    second = j.restrict(ADDRESS, "a", no_trade=True)
    assert first.source != second.source, "number 1 must not look like a repetition"
    assert second.seq == 1


def test_j_takes_no_questions_for_i(make: Make) -> None:
    j = make(Judge())
    with FakeM(j.socket) as m:
        m.send(Query(0, ADDRESS, 1, "0" * 32))
        assert m.ended()


def quote(seq: int) -> Quote:
    one = to_dec(1)
    return Quote("SYN-A.SIM", "h", seq, seq, seq, 0, 0, one, one, one, one)


# Proves: BC-H, BP-1
def test_a_market_source_loses_events_of_who_does_not_read_and_nobody_elses(tmp_path: Path) -> None:
    with MarketSource(socket=tmp_path / "h.sock", out_bytes=4096, source_epoch=3) as h:
        with FakeM(h.socket) as good, FakeM(h.socket) as deaf:
            eventually(lambda: h.connected == 2)
            good.send(Resume(0, None, Cursor("h", 3, 0)))
            count = 8_000
            for seq in range(1, count + 1):
                h.publish(quote(seq), wait_s=0 if seq > 1 else 1)
                if seq % 10 == 0:  # it keeps up
                    good.wait_for(seq)
            events = good.wait_for(count)
            assert [e.cursor for e in events[-2:]] == [Cursor("h", 3, count - 1), Cursor("h", 3, count)]
            assert all(isinstance(e, SourceEvent) and e.address is None for e in events)
            assert h.lost > 0
            deaf.wait_for(1)
        eventually(lambda: h.connected == 0)
        with pytest.raises(ProtocolError):
            h.publish(msgspec.structs.replace(quote(1), instrument="x" * 200))


# Proves: BC-H
def test_a_source_that_can_be_held_back_loses_nothing(tmp_path: Path) -> None:
    with MarketSource(socket=tmp_path / "h.sock", out_bytes=4096) as h, FakeM(h.socket) as m:
        eventually(lambda: h.connected == 1)
        taken = queue.Queue[int]()
        reader = threading.Thread(target=lambda: taken.put(len(m.wait_for(3000))))
        reader.start()
        assert all(h.publish(quote(seq), wait_s=10) == 1 for seq in range(1, 3001))
        assert taken.get(timeout=20) == 3000
        reader.join()
