"""The programs of probe.py as threads of one process (level L0): python3 sharedprobe.py NAME [ARG...]."""

# ruff: noqa

from __future__ import annotations

import os
import sys
import threading

sys.path.insert(0, os.path.dirname(__file__))

import probe  # noqa: E402

from msup.shared import Instance, host  # noqa: E402


class Here(threading.local):
    """The instance of the current thread."""

    instance: Instance

    def connect(self):
        return self.instance.connect()


probe.shared = Here()


def serve(instance: Instance) -> int:
    probe.shared.instance = instance
    probe.PROGRAMS[sys.argv[1]]()
    return 0


host(serve)
