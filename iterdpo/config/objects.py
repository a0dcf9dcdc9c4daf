"""Objects that are given in Python, in the places of classes that a configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from iterdpo.config.choices import Choice


def with_objects(config: Any, given: Mapping[str, object]) -> Any:
    """Return a configuration in which objects stand in their places."""
    for key, value in given.items():
        config = _with(config, key.split("."), Choice.of(value))
    return config


def _with(config: Any, path: list[str], choice: Choice) -> Any:
    name, *rest = path
    own = getattr(config, name)
    if rest:
        return replace(config, **{name: _with(own, rest, choice)})
    has_own = own is not None and not isinstance(own, Choice)
    return replace(config, **{name: replace(own, choice=choice) if has_own else choice})
