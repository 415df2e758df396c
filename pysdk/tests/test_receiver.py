"""I's receiver: what it takes, refuses, repeats and remembers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakem import ADDRESS, FOREVER, LINEAGE, OWNER, FakeM, eventually, offer, order
from msup.boundary import (
    NEVER_ARRIVED,
    Ack,
    Address,
    Cursor,
    Handler,
    LastStep,
    Offer,
    Offered,
    Outcome,
    Phase,
    Query,
    Receiver,
    Refused,
    Resume,
    SnapshotRequest,
    SourceEvent,
    StatusReport,
    StoreError,
    Sync,
    Tombstone,
    committed,
    intent_digest,
    rejected,
)
from msup.event import ExecutionReport, ExecutionSnapshot
from msup.intent import Status

Make = Callable[..., Receiver]


class Paper(Handler):
    """Fills whole, at 10, and remembers its calls."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.asked: list[str] = []
        self.may_return = threading.Event()
        self.may_return.set()
        self.outcome: Callable[[Offered], Any] = lambda o: committed(o.accepted(remaining=1), o.filled(10, 1))
        self.unknown: Callable[[Offered], Any] = lambda _: None

    def on_offer(self, offered: Offered) -> Outcome:
        self.called.append(offered.key)
        self.may_return.wait(10)
        return self.outcome(offered)

    def on_unknown(self, offered: Offered) -> Any:
        self.asked.append(offered.key)
        return self.unknown(offered)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a receiver in the test's folder; it is stopped when the test ends."""
    running: list[Receiver] = []

    def start(handler: Handler, **options: Any) -> Receiver:
        receiver = Receiver(handler, socket=tmp_path / "i.sock", store=tmp_path / "i.db", **options)
        receiver.start()
        running.append(receiver)
        return receiver

    yield start
    for receiver in running:
        receiver.stop()


# Proves: GT-5, DOD-6
def test_a_key_is_applied_once_whatever_is_repeated(make: Make) -> None:
    paper = Paper()
    i = make(paper)
    intent = order(7)
    with FakeM(i.socket) as m:
        assert m.welcome().last_step == 0
        first = m.ask(offer(intent, 7))
        assert (first.status, first.digest, first.reason) == (Status.COMMITTED, intent_digest(intent), "")
        assert [e.report for e in m.executions()] == [ExecutionReport.ACCEPTED, ExecutionReport.FILLED]
        assert m.heard.index(first) == len(m.heard) - 1, "the status comes after the events that it caused"
        again = m.ask(offer(intent, 7))
        assert again == msgspec.structs.replace(first, seq=again.seq)
    i.stop()
    i = make(paper)
    with FakeM(i.socket) as m:
        assert m.welcome(epoch=2).last_step == 7
        assert m.ask(offer(intent, 7, epoch=2)).status is Status.COMMITTED
    assert paper.called == [intent.meta.key]
    assert i.position(ADDRESS, "BTCUSDT.SIM") == 1


# Proves: GT-5
def test_another_digest_under_a_known_key_is_a_conflict(make: Make) -> None:
    paper = Paper()
    i = make(paper)
    with FakeM(i.socket) as m:
        m.welcome()
        m.ask(offer(order(7), 7))
        other = m.ask(offer(order(7, quantity="2"), 7))
        assert (other.status, other.reason) == (Status.REJECTED, "KEY_CONFLICT")
        assert other.digest == intent_digest(order(7)), "I says what it holds"
        assert m.ask(Query(0, ADDRESS, 1, other.key)).status is Status.COMMITTED
        elsewhere = Address("bot", "ema", "eth")
        m.welcome(address=elsewhere)
        stolen = order(7, address=elsewhere)
        stolen = msgspec.structs.replace(stolen, meta=msgspec.structs.replace(stolen.meta, key=order(7).meta.key))
        assert m.ask(offer(stolen, 7)).reason == "KEY_CONFLICT"
        assert m.ask(Query(0, elsewhere, 1, other.key)).status is Status.NOT_SEEN, (
            "another instance's key is none of its"
        )
    assert len(paper.called) == 1


# Proves: GT-5
def test_an_offer_that_is_not_what_it_says_is_not_taken(make: Make) -> None:
    paper = Paper()
    i = make(paper)
    good = order(7)
    with FakeM(i.socket) as m:
        m.welcome()
        bent = msgspec.structs.replace(offer(good, 7), digest=bytes(32))
        assert m.ask(bent).reason == "DIGEST_MISMATCH"
        assert m.ask(offer(good, 7)).status is Status.COMMITTED, "the corrupt one did not occupy the key"
        foreign = msgspec.structs.replace(offer(order(8, address=Address("bot", "ema", "eth")), 8), address=ADDRESS)
        assert m.ask(foreign).reason == "INVALID_INTENT"
        named = order(9)
        named = msgspec.structs.replace(named, meta=msgspec.structs.replace(named.meta, key="KEY"))
        assert m.ask(offer(named, 9)).reason == "INVALID_INTENT"
    assert paper.called == [good.meta.key]


# Proves: GT-5, GT-6
def test_an_old_decision_is_not_applied(make: Make) -> None:
    paper, now = Paper(), [100]
    i = make(paper, clock=lambda: now[0])
    with FakeM(i.socket) as m:
        m.welcome()
        late = m.ask(offer(order(7), 7, valid_until=99))
        assert (late.status, late.reason) == (Status.EXPIRED, "VALID_UNTIL_PASSED")
        assert m.ask(offer(order(7), 7, valid_until=FOREVER)).status is Status.EXPIRED, "and stays so"
        # One that grows old in the line is not applied either.
        paper.may_return.clear()
        m.send(offer(order(8), 8, valid_until=150), offer(order(9), 9, valid_until=150))
        eventually(lambda: paper.called)
        now[0] = 200
        paper.may_return.set()
        assert m.status(order(9).meta.key).status is Status.EXPIRED
    assert paper.called == [order(8).meta.key]


# Proves: LS-3, GT-5
def test_epoch_and_owner_bar_the_others(make: Make) -> None:
    paper = Paper()
    i = make(paper)
    with FakeM(i.socket) as old, FakeM(i.socket) as new, FakeM(i.socket) as twin:
        assert old.ask(offer(order(7), 7)).reason == "NO_HELLO"
        old.welcome(epoch=3)
        assert old.welcome(epoch=3).last_step == 0, "the same owner may say it again"
        second = twin.hello(epoch=3, owner=b"t" * 16)
        assert (type(second), second.reason, second.epoch) == (Refused, "SECOND_OWNER", 3)
        lower = twin.hello(epoch=2)
        assert (type(lower), lower.reason, lower.epoch) == (Refused, "EPOCH_PASSED", 3)
        assert old.ask(offer(order(7), 7, epoch=4)).reason == "EPOCH_UNKNOWN"
        new.welcome(epoch=4, owner=b"n" * 16)
        for message in (
            offer(order(7), 7, epoch=3),
            Query(0, ADDRESS, 3, order(7).meta.key),
            Tombstone(0, ADDRESS, 3, order(7).meta.key),
            SnapshotRequest(0, ADDRESS),
        ):
            answer = old.ask(message)
            assert (type(answer), answer.reason, answer.epoch) == (Refused, "EPOCH_PASSED", 4)
    assert paper.called == []
    i.stop()
    i = make(paper)
    with FakeM(i.socket) as m:
        assert m.hello(epoch=3).reason == "EPOCH_PASSED", "epochs are durable"
        assert m.hello(epoch=4).reason == "SECOND_OWNER"


# Proves: GT-6, DOD-6
def test_a_tombstoned_key_is_never_applied(make: Make) -> None:
    paper = Paper()
    i = make(paper)
    key = order(7).meta.key
    with FakeM(i.socket) as m:
        m.welcome()
        assert m.ask(Query(0, ADDRESS, 1, key)).status is Status.NOT_SEEN
        barred = m.ask(Tombstone(0, ADDRESS, 1, key))
        assert (barred.status, barred.digest, barred.reason) == (Status.EXPIRED, None, "TOMBSTONED")
        assert m.ask(offer(order(7), 7)).status is Status.EXPIRED
        m.ask(offer(order(8), 8))
        assert m.ask(Tombstone(0, ADDRESS, 1, order(8).meta.key)).status is Status.COMMITTED, (
            "a known key keeps its status"
        )
    i.stop()
    i = make(paper)
    with FakeM(i.socket) as m:
        m.welcome(epoch=2)
        assert m.ask(offer(order(7), 7, epoch=2)).status is Status.EXPIRED
    assert paper.called == [order(8).meta.key]


# Proves: BC-I, ST-1
def test_a_snapshot_holds_what_was_reported(make: Make) -> None:
    paper = Paper()
    paper.outcome = lambda o: committed(o.filled(10, "0.4", remaining="0.6"))
    i = make(paper)
    with FakeM(i.socket) as m:
        m.welcome()
        m.ask(offer(order(7), 7))
        event = m.ask(SnapshotRequest(0, ADDRESS))
        assert isinstance(event.event, ExecutionSnapshot)
        snapshot = event.event
        assert [(p.instrument, str(p.quantity)) for p in snapshot.positions] == [("BTCUSDT.SIM", "0.4")]
        assert [(o.key, str(o.remaining)) for o in snapshot.open] == [(order(7).meta.key, "0.6")]
        assert snapshot.cursor == event.cursor == m.events()[0].cursor
        last = m.receive()
        assert isinstance(last, LastStep)
        assert last.step == 7
        # Later fills, from whatever thread the venue has.
        cursor = i.report(i.offered(order(7).meta.key).filled(11, "0.6"))
        assert m.wait_for(3)[-1].cursor == cursor
        after = m.ask(SnapshotRequest(0, ADDRESS)).event
        assert ([str(p.quantity) for p in after.positions], after.open) == (["1"], [])
    with pytest.raises(KeyError):
        i.offered("0" * 32)


# Proves: BC-I, BP-2, ST-1
def test_events_are_sent_again_until_they_are_acknowledged(make: Make) -> None:
    paper = Paper()
    i = make(paper)
    with FakeM(i.socket) as m:
        m.welcome()
        for step in (7, 8, 9):
            m.ask(offer(order(step), step))
        told = m.events()
        assert [e.cursor.seq for e in told] == [1, 2, 3, 4, 5, 6]
        m.ack(told[1].cursor)
    i.stop()
    i = make(paper)
    with FakeM(i.socket) as m:
        cursor = m.welcome(epoch=2).cursor
        assert cursor == told[-1].cursor
        assert m.wait_for(4) == told[2:]
        m.send(Resume(0, ADDRESS, told[3].cursor))
        assert m.wait_for(6)[4:] == told[4:]
        ahead = m.ask(Resume(0, ADDRESS, Cursor(cursor.source, cursor.source_epoch, 7)))
        assert (type(ahead), ahead.reason) == (Refused, "CURSOR_AHEAD")
        # What was acknowledged is gone: a ledger that is older than its ack gets a snapshot.
        behind = m.ask(Resume(0, ADDRESS, Cursor(cursor.source, cursor.source_epoch, 1)))
        assert isinstance(behind.event, ExecutionSnapshot)
        m.ack(cursor)
        m.welcome(epoch=2)
        m.ask(Sync(0))
        assert len(m.events()) == 7, "nothing is left to send"


# Proves: LS-3
def test_an_instance_made_anew_starts_a_source_epoch(make: Make) -> None:
    i = make(Paper())
    with FakeM(i.socket) as m:
        before = m.welcome().cursor
        m.ask(offer(order(7), 7))
        anew = m.welcome(epoch=2, lineage=bytes(16))
        assert (anew.last_step, anew.cursor.seq) == (0, 0)
        assert anew.cursor.source_epoch == before.source_epoch + 1
        assert m.ask(SnapshotRequest(0, ADDRESS)).event.positions, "positions are the market's and stay"


# Proves: BC-I
def test_a_sync_waits_for_the_handler(make: Make) -> None:
    paper = Paper()
    paper.may_return.clear()
    i = make(paper)
    with FakeM(i.socket) as m:
        m.welcome()
        m.send(*[offer(order(step), step) for step in range(2, 6)], Sync(99))
        eventually(lambda: paper.called)
        assert m.ask(Query(0, ADDRESS, 1, order(2).meta.key)).status is Status.OFFERED, "a question does not wait"
        assert not any(isinstance(h, Ack) for h in m.heard)
        paper.may_return.set()
        while not isinstance(m.heard[-1], Ack):
            m.receive()
        assert sum(isinstance(h, StatusReport) and h.status is Status.COMMITTED for h in m.heard) == 4
        assert len(paper.called) == 4


# Proves: NN-6
def test_a_slow_instance_holds_up_nobody_else(make: Make) -> None:
    paper, other = Paper(), Address("bot", "ema", "eth")
    i = make(paper)
    paper.outcome = lambda o: (
        (eventually(paper.may_return.is_set), committed())[1] if o.address == ADDRESS else committed()
    )
    with FakeM(i.socket) as m:
        m.welcome()
        m.welcome(address=other)
        paper.may_return.clear()
        m.send(offer(order(7), 7))
        eventually(lambda: paper.called)
        paper.may_return.set()
        paper.may_return.clear()
        m.send(offer(order(7, address=other), 7))
        eventually(lambda: len(paper.called) == 2)
        paper.may_return.set()
        assert m.status(order(7, address=other).meta.key).status is Status.COMMITTED
        assert m.status(order(7).meta.key).status is Status.COMMITTED


# Proves: GT-6, DOD-6
@pytest.mark.parametrize("handler_says", ["raises", "no outcome", "foreign report", "long reason", "fill of nothing"])
def test_a_handler_that_fails_leaves_the_key_unknown(make: Make, handler_says: str) -> None:
    def fail(offered: Offered) -> Any:
        match handler_says:
            case "raises":
                raise RuntimeError("the venue hung up")
            case "no outcome":
                return True
            case "foreign report":
                return committed(msgspec.structs.replace(offered.canceled(), key="0" * 32))
            case "long reason":
                return rejected("x" * 65)
            case _:
                return committed(msgspec.structs.replace(offered.filled(1, 1), side=0))

    paper = Paper()
    paper.outcome = fail
    i = make(paper)
    key = order(7).meta.key
    with FakeM(i.socket) as m:
        m.welcome()
        word = m.ask(offer(order(7), 7))
        assert (word.status, word.reason) == (Status.OFFERED, "UNKNOWN")
        assert [e.report for e in m.executions()] == [ExecutionReport.UNKNOWN]
        assert m.ask(offer(order(7), 7)).status is Status.OFFERED
        assert m.ask(Tombstone(0, ADDRESS, 1, key)).status is Status.OFFERED, (
            "it may have happened: it cannot be barred"
        )
        # The others go on, and the venue is asked whenever M asks.
        paper.outcome = lambda o: committed(o.filled(10, 1))
        assert m.ask(offer(order(8), 8)).status is Status.COMMITTED
        asked = len(paper.asked)
        m.ask(Query(0, ADDRESS, 1, key))
        eventually(lambda: len(paper.asked) > asked)
        paper.unknown = lambda o: committed(o.filled(10, 1))
        m.ask(Query(0, ADDRESS, 1, key))
        eventually(lambda: i.position(ADDRESS, "BTCUSDT.SIM") == 2)
        assert m.ask(Query(0, ADDRESS, 1, key)).status is Status.COMMITTED
        assert len([e for e in m.executions() if e.report is ExecutionReport.UNKNOWN]) == 1, "told once"
    assert paper.called == [key, order(8).meta.key], "never a second call"


# Proves: GT-6
def test_an_unknown_key_can_be_settled_by_hand_or_called_again(make: Make) -> None:
    def fail(_: Offered) -> Any:
        raise RuntimeError

    paper = Paper()
    paper.outcome = fail
    i = make(paper)
    with FakeM(i.socket) as m:
        m.welcome()
        m.ask(offer(order(7), 7))
        key = order(7).meta.key
        i.settle(key, rejected("NEVER_SENT"))
        word = m.ask(Query(0, ADDRESS, 1, key))
        assert (word.status, word.reason) == (Status.REJECTED, "NEVER_SENT")
        with pytest.raises(KeyError):
            i.settle(key, committed())
        fills = iter([False, True])
        paper.outcome = lambda o: committed(o.filled(10, 1)) if next(fills) else fail(o)
        paper.unknown = lambda _: NEVER_ARRIVED
        assert m.ask(offer(order(8), 8)).status is Status.COMMITTED
    assert paper.called == [key, order(8).meta.key, order(8).meta.key]


def test_an_orderly_stop_makes_nothing_unknown(make: Make) -> None:
    paper = Paper()
    i = make(paper)
    with FakeM(i.socket) as m:
        m.welcome()
        paper.may_return.clear()
        m.send(*[offer(order(step), step) for step in range(2, 12)])
        eventually(lambda: len(i.entries(ADDRESS)) == 10 and paper.called)
        threading.Timer(0.1, paper.may_return.set).start()
        i.stop()
    i = make(paper)
    eventually(lambda: all(e.phase is Phase.DONE for e in i.entries(ADDRESS)))
    assert paper.asked == []
    assert paper.called == [order(step).meta.key for step in range(2, 12)]


# Proves: BP-1
def test_the_line_of_an_instance_is_bounded(make: Make) -> None:
    paper = Paper()
    paper.may_return.clear()
    i = make(paper, most_waiting=3)
    with FakeM(i.socket) as m:
        m.welcome()
        m.send(*[offer(order(step), step) for step in range(2, 8)])
        word = m.status(order(7).meta.key)
        assert (word.status, word.reason) == (Status.REJECTED, "TOO_MANY_ORDERS")
        paper.may_return.set()
        m.ask(Sync(0))
    assert len(paper.called) == 3


def test_a_store_belongs_to_one_process_and_one_role(make: Make, tmp_path: Path) -> None:
    i = make(Paper())
    with pytest.raises(StoreError, match="in use by another process"):
        Receiver(Paper(), socket=tmp_path / "other.sock", store=tmp_path / "i.db").start()
    i.stop()
    with pytest.raises(StoreError, match="numbers the source 'execution'"):
        make(Paper(), source="venue")
    (tmp_path / "i.db").write_bytes(b"no database " * 100)
    with pytest.raises(StoreError, match="restore its backup"):
        make(Paper())


def test_what_m_may_not_say_ends_its_connection(make: Make) -> None:
    i = make(Paper())
    with FakeM(i.socket) as good:
        good.welcome()
        for message in (
            Ack(0, None, Cursor("execution", 1, 1)),
            Resume(0, None, Cursor("execution", 1, 1)),
            Ack(0, ADDRESS, Cursor("execution", 2**62, 1)),
            Offer(0, ADDRESS, 1, 2**63, 0, bytes(32), FOREVER, order(1)),
        ):
            with FakeM(i.socket) as m:
                m.welcome()
                m.send(message)
                assert m.ended()
        good.welcome()
        assert good.ask(offer(order(7), 7)).status is Status.COMMITTED, "the others go on"
        assert isinstance(good.heard[-2], SourceEvent)
        assert good.hello(lineage=LINEAGE, owner=OWNER).last_step == 7


# Proves: GT-6
def test_the_venue_is_asked_until_it_knows(make: Make) -> None:
    def fail(_: Offered) -> Any:
        raise RuntimeError

    paper = Paper()
    paper.outcome = fail
    answers = iter([None, None, None])
    paper.unknown = lambda o: next(answers, committed(o.filled(10, 1)))
    i = make(paper, ask_every_s=0.05)
    with FakeM(i.socket) as m:
        m.welcome()
        m.send(offer(order(7), 7))
        eventually(lambda: i.position(ADDRESS, "BTCUSDT.SIM") == 1)
        assert m.wait_for(2)[-1].event != m.events()[0].event
        assert [e.report for e in m.executions()] == [ExecutionReport.UNKNOWN, ExecutionReport.FILLED]
    assert len(paper.asked) == 4
    assert len(paper.called) == 1
