"""What ``on_healthcheck`` answers (DM-3)."""

from __future__ import annotations

import msgspec

from msup.message import HealthLevel


class Health(msgspec.Struct, frozen=True):
    """A level and a short tag (64 bytes at most) that says why."""

    level: HealthLevel
    tag: str = ""

    @classmethod
    def healthy(cls, tag: str = "") -> Health:
        """All is well."""
        return cls(HealthLevel.HEALTHY, tag)

    @classmethod
    def degraded(cls, tag: str) -> Health:
        """It works, but worse than it should."""
        return cls(HealthLevel.DEGRADED, tag)

    @classmethod
    def failing(cls, tag: str) -> Health:
        """It should not trade."""
        return cls(HealthLevel.FAILING, tag)
