"""The settings that change no result, and so no key, as the schema marks them.

A test changes every setting of the configuration in turn: one that is marked must leave every key
as it was, and every other must change one.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from iterdpo.config.schema import Config
from iterdpo.settings import CountsElsewhere, Keyless, settings_of


def is_keyless(key: str) -> bool:
    """Tell whether a dotted key, or a section that it is in, is marked as being in no key."""
    return _is_below(key, _marked(Keyless))


def is_inert(key: str, targets: Mapping[str, str]) -> bool:
    """Tell whether a setting changes no result: is in no key, and does not count in another way.

    Args:
        key: the setting, dotted.
        targets: by section, the class that it names. Those of ours are asked as well, and a user's
            where it is loaded already; none of a user's is imported.
    """
    if _is_below(key, _marked(Keyless) - _marked(CountsElsewhere)):
        return True
    section, *path = key.split(".")
    kind = _known_class(targets.get(section, ""))
    for name in path:
        if kind is None:
            return False
        found = next((item for item in settings_of(kind) if item.name == name), None)
        if found is None:
            return False
        marks = [mark for mark in found.marks if isinstance(mark, Keyless)]
        if marks:
            return not isinstance(marks[0], CountsElsewhere)
        kind = found.hint if is_dataclass(found.hint) else None
    return False


def _known_class(target: str) -> Any:
    module, _, name = target.rpartition(".")
    if module.startswith("iterdpo."):
        return getattr(importlib.import_module(module), name, None)
    return getattr(sys.modules.get(module), name, None)


def _is_below(key: str, marked: frozenset[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:count]) in marked for count in range(1, len(parts) + 1))


@functools.cache
def _marked(mark: Any) -> frozenset[str]:
    return frozenset(_keys(Config, "", mark))


def _keys(kind: type, prefix: str, mark: type) -> Iterator[str]:
    """Yield the dotted key of every setting of ``kind`` that bears a mark."""
    hints = get_type_hints(kind, include_extras=True)
    for item in fields(kind):
        key, hint = f"{prefix}{item.name}", hints[item.name]
        marks: tuple[Any, ...] = ()
        if get_origin(hint) is Annotated:
            hint, *rest = get_args(hint)
            marks = tuple(rest)
        if any(isinstance(own, mark) for own in marks):
            yield key
            continue
        options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
        for option in options:
            if is_dataclass(option):
                yield from _keys(option, f"{key}.", mark)  # type: ignore[arg-type]
