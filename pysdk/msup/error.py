"""The exceptions of the SDK, each with the place, the cause and the remedy in its text."""

from __future__ import annotations

import sys

from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here


class MsupError(Exception):
    """Base of everything that msup raises."""


class ProtocolError(MsupError):
    """A peer broke PROTOCOL.md; the session is over."""


class EntryError(MsupError):
    """The strategy cannot be loaded: its module, its class or one of its declarations is wrong (AD-1)."""


class ConfigError(MsupError):
    """Configuration values do not fit the typed schema (HR-1). It becomes a fault of kind ``config``."""


class StateError(MsupError):
    """State cannot be written, read or migrated (ST-1, ST-5). It becomes a fault of kind ``state``."""


class DeterminismError(MsupError):
    """A source of chance outside ``ctx`` was used under ``MSUP_DETERMINISM=strict`` (NN-7).

    A fault of kind ``determinism``.
    """


class StepError(MsupError):
    """``ctx`` was asked for an effect outside a step.

    From a thread, from ``on_healthcheck``, after the callback returned.
    """


class LimitError(MsupError):
    """One answer would hold more than the wire or the descriptor allows (GT-2)."""


def tell(text: str) -> None:
    """Write one or more whole lines to stderr, the strategy's log."""
    sys.stderr.write(text if text.endswith("\n") else text + "\n")
    sys.stderr.flush()
