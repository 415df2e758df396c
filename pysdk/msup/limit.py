"""Limits of the wire (PROTOCOL.md section 6), checked before anything is allocated or sent."""

from __future__ import annotations

from typing import Final

MAX_FRAME_BYTES: Final = 16 << 20
"""Any frame, the length prefix not counted."""

MAX_ANSWER_BYTES: Final = 64 << 10
"""What a runner sends, chunks apart."""

MAX_CHUNK_BYTES: Final = 1 << 20
"""Data of one Chunk."""

CHUNK_OVERHEAD_BYTES: Final = 64
"""How much longer than its data a Chunk's frame may be."""

MAX_STATE_BYTES: Final = 16 << 20
"""A strategy's whole state."""

MAX_DEPTH: Final = 16
"""Nesting of arrays and maps."""

MAX_BATCH_EVENTS: Final = 4096
MAX_INTENTS: Final = 256
MAX_TIMERS: Final = 256
MAX_COMPUTES: Final = 64
MAX_TELEMETRY: Final = 64
MAX_DELTA_ENTRIES: Final = 1024
MAX_LEVELS: Final = 65536
MAX_ROWS: Final = 65536
"""Instruments of an Init; positions, orders and keys of an event."""

MAX_CONFIG_ENTRIES: Final = 1024
MAX_HOOKS: Final = 64
MAX_TEXT_BYTES: Final = 4 << 10
"""A string among values; the why of a change."""

MAX_ID_BYTES: Final = 128
"""Every identifier that crosses a process boundary."""

MAX_TAG_BYTES: Final = 64
"""Codes, hints, telemetry names and tags, timer ids, tasks, reasons."""

MAX_MESSAGE_BYTES: Final = 1024
"""A fault's message."""

MAX_TRACEBACK_BYTES: Final = 16 << 10
"""A fault's traceback."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
