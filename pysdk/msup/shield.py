"""The builtins as they were before any strategy was loaded.

A strategy that rebinds ``builtins.len`` is to fail at its own calls, not to take the runner along: its answer then
comes as a fault, and the supervisor need not guess why the socket ended. A module that binds ``own`` as its
``__builtins__`` before it defines anything calls these. No wall: whoever means harm has the same interpreter. The
sandbox is what holds.
"""

from __future__ import annotations

import builtins
from typing import Any, Final

own: Final[dict[str, Any]] = dict(vars(builtins))
