"""Every golden vector: read, compared, written again; every invalid one refused.

Proves the contract from Python's side.
"""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import VECTORS
from jsonform import json_form
from msup.boundary import decode_from_m, decode_from_peer
from msup.codec import AnswerEncoder, Decoder, SupervisorDecoder, encode, frame
from msup.error import ProtocolError
from msup.frame import FrameConnection
from msup.key import Keys, key_of, named_key, step_key
from msup.message import Address, RunnerMessage
from msup.rng import Rng, step_seed
from msup.wire import Wire

_runner: Decoder[RunnerMessage] = Decoder(RunnerMessage)
_DECODERS = {
    "supervisor": SupervisorDecoder().decode,
    "runner": _runner.decode,
    "m": decode_from_m,
    "peer": decode_from_peer,
}


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.bin"))


def _read(raw: bytes, sender: str) -> Wire:
    """Read one frame as the SDK does: from a socket, through the connection, then the decoder of that direction."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        theirs.settimeout(20)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.sendall(raw)
        theirs.shutdown(socket.SHUT_WR)
        payload = FrameConnection(ours, from_runner=sender == "runner").read()
        assert payload is not None
        return _DECODERS[sender](payload)


# Proves: RS-2, EV-1, DM-3, DM-4, BC-A, BC-F
@pytest.mark.parametrize("name", _names(VECTORS))
def test_vector_is_read_and_written(name: str) -> None:
    raw = (VECTORS / f"{name}.bin").read_bytes()
    about = json.loads((VECTORS / f"{name}.json").read_text())
    message = _read(raw, about["from"])
    found = json.loads(json.dumps(json_form(message)))
    assert found == about["message"]
    # == takes 2 for 2.0 and True for 1; the text does not.
    assert json.dumps(found, sort_keys=True) == json.dumps(about["message"], sort_keys=True)
    written = frame(encode(message))
    assert (written == raw) is about["reencode"]
    assert bytes(AnswerEncoder().encode(message)) == written
    assert json_form(_read(written, about["from"])) == json_form(message)


# Proves: RS-2, SB-6, GT-4
@pytest.mark.parametrize("name", _names(VECTORS / "invalid"))
def test_invalid_vector_is_refused(name: str) -> None:
    raw = (VECTORS / "invalid" / f"{name}.bin").read_bytes()
    about = json.loads((VECTORS / "invalid" / f"{name}.json").read_text())
    with pytest.raises(ProtocolError):
        _read(raw, about["from"])


def test_the_corpus_is_there() -> None:
    assert len(_names(VECTORS)) >= 80
    assert len(_names(VECTORS / "invalid")) >= 80


# Proves: GT-5, BC-A
@pytest.mark.parametrize("vector", json.loads((VECTORS / "key.json").read_text()), ids=lambda v: str(v["key"])[:8])
def test_idempotency_key(vector: dict[str, Any]) -> None:
    address = Address(vector["bot"], vector["strategy"], vector["instance"])
    lineage = bytes.fromhex(vector["lineage"])
    rest: list[str | bytes | int] = {
        "S": [vector.get("step", 0), vector.get("ordinal", 0)],
        "N": [vector.get("name", "")],
        "M": [vector.get("obligation_no", 0), vector.get("attempt", 0), vector.get("ordinal", 0)],
    }[vector["form"]]
    owner: list[str | bytes | int] = [address.bot, address.strategy, address.instance, lineage]
    shadow = vector.get("shadow_no")
    parts = [vector["form"], *owner, *rest] if shadow is None else ["X", *owner, shadow, vector["form"], *rest]
    assert msgspec.msgpack.encode(parts).hex() == vector["msgpack"]
    assert key_of(parts) == vector["key"]
    if shadow is None and vector["form"] == "S":
        assert step_key(address, lineage, vector.get("step", 0), vector.get("ordinal", 0)) == vector["key"]
        assert Keys(address, lineage).step(vector.get("step", 0), vector.get("ordinal", 0)) == vector["key"]
    if shadow is None and vector["form"] == "N":
        assert named_key(address, lineage, vector["name"]) == vector["key"]
        assert Keys(address, lineage).named(vector["name"]) == vector["key"]


# Proves: NN-7
@pytest.mark.parametrize("vector", json.loads((VECTORS / "rng.json").read_text()), ids=lambda v: f"step{v['step']}")
def test_rng(vector: dict[str, Any]) -> None:
    seed = step_seed(vector["run_seed"], vector["instance"], vector["step"])
    words, floats = Rng(seed), Rng(seed)
    assert [words.next_u64() for _ in vector["u64"]] == vector["u64"]
    assert [floats.random() for _ in vector["floats"]] == vector["floats"]


# Proves: NN-7, RS-2
@pytest.mark.parametrize("vector", json.loads((VECTORS / "digest.json").read_text()), ids=lambda v: str(v["name"]))
def test_answer_digest_can_be_made_from_what_the_sdk_writes(vector: dict[str, Any]) -> None:
    """The digest is the supervisor's business; here it shows that Python's bytes are the canonical ones."""
    raw = bytes.fromhex(vector["msgpack"])
    if vector["kind"] == "answer":
        answer = _runner.decode(raw)
        parts = _untyped(encode(answer))[3:]
        parts[0] = [_anonymous(intent, key=True) for intent in parts[0]]
        parts[5] = parts[5][0] if parts[5] else ""
        summed = parts
    else:
        summed = _anonymous(_untyped(raw), key=False)
    encoded = msgspec.msgpack.encode(summed)
    assert encoded.hex() == vector["summed"]
    assert hashlib.sha256(encoded).hexdigest() == vector["digest"]


def _untyped(raw: bytes) -> list[Any]:
    return msgspec.msgpack.decode(raw, type=list[Any])


def _anonymous(intent: list[Any], *, key: bool) -> list[Any]:
    kind, meta, body = intent
    return [kind, [*meta[:4], "", "", meta[6] if key else "", *meta[7:]], body]
