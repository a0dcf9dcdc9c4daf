"""Choices: classes that a configuration names by ``_target_``, ours or the user's own.

A section such as ``judge`` holds settings of its own place, which every choice has, and the name of
a class with the settings of that class alone. They are checked as strictly as the others, before
anything heavy loads: the class is found and its parameters' types are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Final, get_type_hints

from iterdpo.config.classes import attribute, find_class, typed_settings
from iterdpo.config.places import PLACES, Place
from iterdpo.errors import ConfigError, described
from iterdpo.settings import Setting, settings_of
from iterdpo.store.hashing import plain

TARGET: Final = "_target_"

JSON = Any


@dataclass(frozen=True, slots=True)
class Choice:
    """A class and the settings that it is to have."""

    target: str
    """Where it is found: ``package.module.Class``, or ``path/to/file.py:Class``."""
    settings: Mapping[str, JSON]
    """Values as in YAML, checked against the class, its defaults included."""
    value: Any = field(default=None, repr=False, compare=False)
    """The object itself, where one was given in Python; the other fields say what it is."""

    @property
    def name(self) -> str:
        """What reports call it: the name of its class."""
        return self.target.rpartition(":")[2].rpartition(".")[2]

    @property
    def values(self) -> dict[str, JSON]:
        """The choice as it stands in YAML."""
        return {TARGET: self.target, **self.settings}

    @classmethod
    def of(cls, value: Any) -> Choice:
        """Return the choice of an object that was given in Python."""
        from pydantic_core import to_jsonable_python

        kind = type(value)
        settings = {
            item.name: to_jsonable_python(getattr(value, item.name), fallback=repr)
            for item in settings_of(kind)
            if not item.provided
        }
        return cls(f"{kind.__module__}.{kind.__qualname__}", settings, value)


@dataclass(frozen=True, slots=True)
class Checked:
    """A choice that was found to be right."""

    choice: Choice
    value: Any
    """An instance with these settings, in which nothing that a run provides is there yet: good for
    what follows from settings alone."""


def checked_choices(
    values: Mapping[str, JSON], schema: type, given: Mapping[str, object]
) -> tuple[dict[str, JSON], dict[str, Any], list[str]]:
    """Check every choice of a configuration.

    Args:
        values: the composed values.
        schema: the configuration's class.
        given: by place, objects that take the place of what ``values`` names.

    Returns:
        The values as ``schema`` reads them, with every choice's defaults filled in; by place, the
        object that its choice names (see ``Checked.value``); and what is wrong, one line each.
    """
    shaped = shape(values, schema)
    made: dict[str, Any] = {}
    problems: list[str] = []
    for key, place in PLACES.items():
        if place.inside:
            continue
        node = _node(shaped, key)
        if key in given:
            problems += (wrong := _wrong_object(key, given[key], place))
            made |= {} if wrong else {key: given[key]}
            if node is not None:  # else nothing is chosen there that it takes the place of
                node.update(target="", settings={})
            continue
        if node is None:
            continue
        try:
            found = checked(key, {TARGET: node["target"], **node["settings"]}, place)
        except ConfigError as error:
            problems += error.problems
            continue
        node["settings"] = dict(found.choice.settings)
        made[key] = found.value
    return shaped, made, problems


def shape(values: Mapping[str, JSON], schema: type) -> dict[str, JSON]:
    """Return values as ``schema`` reads them: what is a choice's own apart from its place's."""
    shaped: dict[str, JSON] = json.loads(json.dumps(dict(values)))
    for key in (key for key, place in PLACES.items() if not place.inside):
        *path, name = key.split(".")
        section: JSON = shaped
        kind: Any = schema
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
            kind = get_type_hints(kind)[part]
        node = section.get(name) if isinstance(section, dict) else None
        if not isinstance(node, dict):
            continue  # nothing is chosen, or the schema says what is wrong
        hint = get_type_hints(kind)[name]
        own = {item.name for item in fields(hint)} - {"choice"} if is_dataclass(hint) else set()
        own = set() if hint is Choice else own
        settings = {k: v for k, v in node.items() if k not in own and k != TARGET}
        choice = {"target": node.get(TARGET) or "", "settings": settings}
        kept = {k: v for k, v in node.items() if k in own}
        section[name] = {**kept, "choice": choice} if own else choice
    return shaped


def as_values(config: Any) -> JSON:
    """Return a configuration as it stands in YAML, and as ``shape`` reads it back."""
    if isinstance(config, Choice):
        return dict(config.values)
    if is_dataclass(config) and not isinstance(config, type):
        values: dict[str, JSON] = {}
        for item in fields(config):
            own = as_values(getattr(config, item.name))
            values |= own if item.name == "choice" else {item.name: own}
        return values
    return plain(config)


def name_of(section: Mapping[str, JSON]) -> str:
    """Return what reports call the choice of a section, as ``as_values`` gave it."""
    return Choice(str(section.get(TARGET, "")), {}).name


def targets(values: Mapping[str, JSON]) -> dict[str, str]:
    """Return the class that each section names, of values as ``as_values`` gave them."""
    return {
        name: str(own[TARGET])
        for name, own in values.items()
        if isinstance(own, Mapping) and TARGET in own
    }


def _node(shaped: Mapping[str, JSON], key: str) -> Any:
    node: Any = shaped
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node.get("choice", node) if isinstance(node, dict) else None


def checked(key: str, values: Mapping[str, JSON], place: Place) -> Checked:
    """Find the class that ``values`` names and check its settings.

    Args:
        key: the section, for messages.
        values: the section's values, less those of its place.
        place: what may stand there.

    Raises:
        ConfigError: the class is not there or is no such class, or a setting is wrong.
    """
    values = dict(values)
    target = values.pop(TARGET, None)
    if not isinstance(target, str) or not target:
        raise ConfigError(
            [f"{key}.{TARGET}: is missing; name a class that derives from {place.base}, or choose "
             f"one of those in conf/{key.partition('.')[0]}"]
        )  # fmt: skip
    own, parameters = declared(key, target)
    settings = [item for item in parameters if not item.provided]
    python = typed_settings(key, target, settings, values)
    absent = {item.name: Absent(item.name) for item in parameters if item.provided}
    try:
        made = own(**python, **absent)
    except ValueError as error:  # of ``__post_init__``: what settings allow only one by one
        raise ConfigError([_placed(key, text) for text in str(error).splitlines()]) from None
    except Exception as error:  # whatever a user's class raises while it is made
        said = f"{key}.{TARGET}={target}: cannot be made ({described(error)})"
        raise ConfigError([said]) from error
    if lost := [item.name for item in settings if not hasattr(made, item.name)]:
        said = f"{key}.{TARGET}={target}: keeps no {lost[0]}, so it could not count in keys"
        raise ConfigError([f"{said}; set self.{lost[0]}, or make the class a dataclass"])
    shown = {item.name: _shown(values, item, python[item.name]) for item in settings}
    return Checked(Choice(target, shown), made)


def check_inside(key: str, values: Mapping[str, JSON]) -> Any:
    """Check a choice that is a setting of another one, in the other's ``__post_init__``.

    Returns:
        Its object, as in ``Checked.value``.

    Raises:
        ValueError: with one line for each problem, named from the other's section on.
    """
    try:
        return checked(key, values, PLACES[key]).value
    except ConfigError as error:
        section = key.partition(".")[0]
        lines = (line.removeprefix(f"{section}.") for line in error.problems)
        raise ValueError("\n".join(lines)) from None


def declared(key: str, target: str) -> tuple[type, tuple[Setting, ...]]:
    """Return the class that a place's target names and its parameters.

    Raises:
        ConfigError: it is not there, is no such class, or its parameters cannot be read.
    """
    place, said = PLACES[key], f"{key}.{TARGET}={target}"
    own = find_class(target, said, place.kind, place.base)
    try:
        return own, settings_of(own)
    except TypeError as error:
        raise ConfigError([f"{said}: {error}"]) from None


def build(key: str, choice: Choice, **provided: object) -> Any:
    """Return the object that a checked choice names, with what the run provides.

    Args:
        key: its place.
        choice: the class and its settings.
        provided: what the run provides there, by name.

    Raises:
        ConfigError: it asks for something that is not provided here.
    """
    if choice.value is not None:
        return _bound(choice.value, provided)
    own, parameters = declared(key, choice.target)
    settings = [item for item in parameters if not item.provided]
    wanted = [item.name for item in parameters if item.provided]
    if missing := [name for name in wanted if name not in provided]:
        raise ConfigError(
            [f"{key}.{TARGET}={choice.target}: asks for {missing[0]}, and a run provides "
             f"{', '.join(provided) or 'nothing'} here"]
        )  # fmt: skip
    python = typed_settings(key, choice.target, settings, choice.settings)
    return own(**python, **{name: provided[name] for name in wanted})


def _bound(value: Any, provided: Mapping[str, object]) -> Any:
    """Return an object with what the run provides in the fields that are for it."""
    wanted = [item.name for item in settings_of(type(value)) if item.provided]
    return replace(value, **{name: provided[name] for name in wanted}) if wanted else value


class Absent:
    """Stands for what a run provides, while nothing but settings is looked at."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self._name} is not there before the run: read it when it is needed")


def _placed(key: str, text: str) -> str:
    """Return a message of a class, with its section where it names a setting."""
    name = text.split("=")[0].split(":")[0]
    of_setting = all(part.isidentifier() for part in name.split("."))
    return f"{key}.{text}" if of_setting else f"{key}: {text}"


def _shown(values: Mapping[str, JSON], item: Setting, python: Any) -> JSON:
    from pydantic_core import to_jsonable_python

    return values[item.name] if item.name in values else to_jsonable_python(python)


def _wrong_object(key: str, value: object, place: Place) -> list[str]:
    """Return, as a list, what is wrong with an object that was given for a place."""
    needed = attribute(place.kind, place.kind)
    if isinstance(value, needed):
        return []
    what = "a class, not an object of it" if isinstance(value, type) else f"{type(value).__name__}"
    return [f"{key}: is {what}; give an object whose class derives from {place.base}"]
