"""Strategies that lie about what they return, raise and put into an answer: a fault each, and the runner goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakesupervisor import FakeSupervisor, quote

Start = Callable[..., FakeSupervisor]

LIARS = """
import builtins, msup

class Meta(type):
    @property
    def __name__(cls): raise RuntimeError("no name")
    def __instancecheck__(cls, other): raise RuntimeError("no instance")

class Nameless(metaclass=Meta):
    pass

class Classless:
    @property
    def __class__(self): raise RuntimeError("no class")

class Worse(BaseException):
    def __str__(self): raise Worse
    __repr__ = __str__

class Generator:
    pass

def gen():
    try:
        yield
    finally:
        raise Worse

def running():
    g = gen()
    next(g)
    return g

class Reducer:
    def __reduce__(self): raise Worse
    __reduce_ex__ = lambda self, protocol: self.__reduce__()

class Boolean:
    def __bool__(self): raise Worse
    def __eq__(self, other): raise Worse

class S(msup.Strategy):
    def on_event(self, ctx, event):
        if event.seq == 1:
            WHAT
        elif event.seq == 2:
            ctx.no_op("on")
"""


# Proves: SB-6, RS-2
@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("return Classless()", "bad_return"),
        ("return Nameless()", "bad_return"),
        ("return Nameless", "bad_return"),
        ("return Reducer()", "bad_return"),
        ("return Boolean()", "bad_return"),
        ("return running()", "bad_return"),
        ("return gen()", "bad_return"),
        ("raise Worse", "exception"),
        ("raise type('E', (Worse,), {'__module__': property(lambda self: 1 / 0)})", "exception"),
        # Past the context's own checks, into what the answer is written from.
        ("ctx.no_op('x'); ctx._intents.append(Classless())", "bad_return"),
        ("ctx.no_op('x'); ctx._intents.append(Reducer())", "bad_return"),
        ("ctx.no_op('x'); ctx._intents.append(lambda: 1)", "bad_return"),
    ],
)
def test_a_liar_gets_a_typed_fault(start: Start, what: str, kind: str) -> None:
    s = start(LIARS.replace("WHAT", what))
    s.accept()
    assert s.init().empty
    fault = s.fault(quote(seq=1))
    assert fault.kind == kind, fault
    assert s.deliver(quote(seq=2)).intents[0].body.reason == "on"  # type: ignore[union-attr]
    assert s.stop() == 0


# Proves: SB-6, RS-2
def test_rebound_builtins_do_not_take_the_runner_along(start: Start) -> None:
    s = start(
        LIARS.replace(
            "WHAT",
            "[setattr(builtins, name, lambda *_: -1) for name in dir(builtins) if name in "
            "('len', 'type', 'str', 'bytes', 'dict', 'list', 'tuple', 'max', 'min', 'getattr', 'iter', 'next')]; "
            "builtins.isinstance = lambda *_: True",
        )
    )
    s.accept()
    assert s.init().empty
    assert s.deliver(quote(seq=1)).intents == []
    for seq in (2, 3):  # its own calls may fail now; there is an answer all the same
        answer = s.deliver(quote(seq=seq))
        assert answer.fault is None or answer.fault.kind == "exception"
    assert s.stop() == 0, s.stderr()
