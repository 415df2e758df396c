"""``python -m msup.schema ENTRY [DIR]``: what ``msup build`` wants to know of a strategy, as JSON on stdout.

It imports the strategy's code, so it belongs into the sandbox, where ``msup build`` runs it. ``DIR`` (default:
``MSUP_STRATEGY_DIR``, else ``/strategy``) is put on the path, and so is ``MSUP_LAYER``. What the module prints while it
is imported goes to stderr. ``MSUP_COMPUTE_ENTRY`` names the compute part, which is imported and checked as well. Exit
code 78 where an entry cannot be loaded, with the same line on stderr as the runner's.

    {"config_schema": {"fast": {"type": "int", "required": false, "apply": "bar", "unit": "bars", "min": 1, "max": 500,
     "default": 12, "doc": "…"}}, "entry": "ema:EmaCross", "hooks": ["on_config"], "sdk_version": "…",
     "state_schema_version": 1}

``type`` is int, float, str, bool or decimal; ``min``, ``max``, ``choices`` and ``default`` of a decimal are strings;
what is not set is left out, ``type``, ``required`` and ``apply`` never are.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from typing import Any

from msup.entry import DEFAULT_STRATEGY_DIR, add_path, load, load_part
from msup.error import EntryError, StateError, tell
from msup.state import StateCodec
from msup.strategy import Strategy, hooks_of
from msup.version import __version__


def describe(strategy_class: type[Strategy[Any, Any]], entry: str = "") -> dict[str, Any]:
    """The description of a class as plain values."""
    StateCodec(strategy_class.State)
    return {
        "config_schema": strategy_class.Config.schema(),
        "entry": entry,
        "hooks": hooks_of(strategy_class),
        "sdk_version": __version__,
        "state_schema_version": strategy_class.state_schema_version,
    }


def main(arguments: list[str]) -> int:
    """Print the description of the entry in ``arguments``; the exit code comes back."""
    if len(arguments) not in (1, 2):
        tell("usage: python -m msup.schema MODULE:CLASS [DIR]")
        return 64
    folder = arguments[1] if len(arguments) == 2 else os.environ.get("MSUP_STRATEGY_DIR") or DEFAULT_STRATEGY_DIR
    add_path(folder, os.environ.get("MSUP_LAYER", ""))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            description = describe(load(arguments[0]), arguments[0])
            if part := os.environ.get("MSUP_COMPUTE_ENTRY"):
                load_part(part)
    except (EntryError, StateError) as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        tell("msup: IMPORT_FAILED: " + " ".join(str(error).splitlines()))
        return 78
    json.dump(description, sys.stdout, sort_keys=True, allow_nan=False)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
