"""Idempotency keys (PROTOCOL.md section 4, GT-5): 32 hex characters, the same for the same intent for ever.

A key holds no run, version, epoch or wall time, so that the same step after a crash makes the same key.
"""

from __future__ import annotations

import msgspec

from msup.digest import sha256
from msup.message import Address

_encode = msgspec.msgpack.Encoder().encode


def key_of(parts: list[str | bytes | int]) -> str:
    """The key of a full list of parts, tag first; the lineage is bytes."""
    return sha256(_encode(parts)).hex()[:32]


def step_key(address: Address, lineage: bytes, step: int, ordinal: int) -> str:
    """The key of the intent at index ``ordinal`` of the answer of ``step``."""
    return key_of(["S", address.bot, address.strategy, address.instance, lineage, step, ordinal])


def named_key(address: Address, lineage: bytes, name: str) -> str:
    """The key of an intent to which the strategy gave a name."""
    return key_of(["N", address.bot, address.strategy, address.instance, lineage, name])


class Keys:
    """Makes the keys of one instance; the constant front of the hashed bytes is written once."""

    __slots__ = ("_named", "_step")

    def __init__(self, address: Address, lineage: bytes) -> None:
        owner = [address.bot, address.strategy, address.instance, lineage]
        body = _encode(owner)[1:]
        self._step = b"\x97" + _encode("S") + body  # an array of 7
        self._named = b"\x96" + _encode("N") + body  # an array of 6

    def step(self, step: int, ordinal: int) -> str:
        """As ``step_key``."""
        return sha256(self._step + _encode(step) + _encode(ordinal)).hex()[:32]

    def named(self, name: str) -> str:
        """As ``named_key``."""
        return sha256(self._named + _encode(name)).hex()[:32]
