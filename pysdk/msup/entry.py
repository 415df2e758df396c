"""Finding a strategy class by its entry, ``module:Class``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from msup.compute import ComputePart, check_part
from msup.error import EntryError
from msup.strategy import Strategy, check_class

DEFAULT_STRATEGY_DIR = "/strategy"


def add_path(strategy_dir: str, layer: str = "") -> None:
    """Put the strategy's folder, then the layer of its dependencies, in front of the path."""
    for folder in (layer, strategy_dir):
        if folder:
            sys.path.insert(0, folder)


def load(entry: str) -> type[Strategy[Any, Any]]:
    """The strategy class of an entry. Whatever goes wrong is an ``EntryError`` with the cause attached."""
    return check_class(find(entry))


def load_part(entry: str) -> type[ComputePart[Any]]:
    """The compute part of an entry, or an ``EntryError``."""
    return check_part(find(entry))


def find(entry: str) -> object:
    """Import the module and return what the entry names in it."""
    module_name, _, class_name = entry.partition(":")
    if not module_name or not class_name:
        raise EntryError(f"the entry {entry!r} is not of the form module:Class")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:  # a module may raise anything, SystemExit too
        try:
            text = str(error)
        except BaseException as second:  # noqa: BLE001 - the exception's own __str__ may be the strategy's, and wrong
            text = f"its text cannot be made ({type(second).__name__})"
        raise EntryError(f"module {module_name!r} does not import: {type(error).__name__}: {text}") from error
    found: object = module
    for part in class_name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise EntryError(f"module {module_name!r} ({module.__file__}) has no {class_name!r}")
    return found
