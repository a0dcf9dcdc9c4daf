"""Classes found by the name that a configuration gives them, ours or of the user's own."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, field, make_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from iterdpo.config.messages import line_of
from iterdpo.config.types import allowing_any
from iterdpo.errors import ConfigError, described
from iterdpo.settings import Setting

T = TypeVar("T")


def find_class(target: str, said: str, kind: str, base: str) -> type:
    """Return the class at ``target``, having checked that it derives from another.

    A module is looked for as any import does, and in the working directory.

    Args:
        target: ``package.module.Class``, or ``path/to/file.py:Class``.
        said: the setting that names it, with its value, for messages.
        kind: the class that it must derive from, likewise.
        base: what a user should derive a class of that kind from, for messages.

    Raises:
        ConfigError: it is not there, cannot be imported, or is no such class.
    """
    own = attribute(target, said)
    needed = attribute(kind, kind)
    if not isinstance(own, type):
        raise ConfigError([f"{said}: is no class but {type(own).__name__}"])
    if not issubclass(own, needed):
        raise ConfigError(
            [f"{said}: is no {base.rpartition('.')[2]}; derive the class from {base}"]
        )
    if missing := sorted(getattr(own, "__abstractmethods__", ())):
        raise ConfigError([f"{said}: lacks {', '.join(missing)}; see {base}"])
    return own


def attribute(target: str, said: str) -> Any:
    """Return what is at ``module.name`` or ``file.py:name``.

    Raises:
        ConfigError: it is not there, or its module cannot be imported; ``said`` is its setting.
    """
    place, colon, name = target.rpartition(":")
    if not colon:
        place, _, name = target.rpartition(".")
    if not place or not name:
        raise ConfigError([f"{said}: name a class, module.Class or file.py:Class"])
    module = _module(place, said)
    if not hasattr(module, name):
        raise ConfigError([f"{said}: there is no {name} in {module.__name__}"])
    return getattr(module, name)


def _module(place: str, said: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # a console script does not look there, ``python -m`` does
    try:
        if place.endswith(".py"):
            return _file(Path(place).expanduser().resolve(), said)
        return importlib.import_module(place)
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise ConfigError(
                [f"{said}: there is no module {error.name}, neither installed nor in {here}"]
            ) from None
        raise ConfigError([f"{said}: cannot be imported ({error})"]) from error
    except Exception as error:  # whatever a user's module raises while it is imported
        raise ConfigError([f"{said}: cannot be imported ({described(error)})"]) from error


def _file(path: Path, said: str) -> ModuleType:
    """Import a file by its place, once a process; its name is that of the file."""
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if path.stem in sys.stdlib_module_names or hasattr(known, "__path__"):
        raise ConfigError(
            [f"{said}: {path.name} would take the place of the module {path.stem} that others "
             "import; rename the file"]
        )  # fmt: skip
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError([f"{said}: there is no file {path}"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def typed_settings(
    key: str, target: str, settings: list[Setting], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of a class's settings as the types that it declares.

    Args:
        key: their section, for messages.
        target: the class, likewise.
        settings: what it declares.
        values: as in YAML.

    Raises:
        ConfigError: with one line for each that is missing, unknown or of another type.
    """
    from pydantic import TypeAdapter, ValidationError

    fields = [
        (item.name, item.hint)
        if item.default is MISSING
        else (item.name, item.hint, field(default_factory=functools.partial(_same, item.default)))
        for item in settings
    ]
    kind: Any = allowing_any(make_dataclass("Settings", fields, frozen=True, kw_only=True))
    try:
        made = TypeAdapter(kind).validate_json(json.dumps(dict(values)))
    except ValidationError as error:
        raise ConfigError(list(_lines(key, target, settings, error))) from None
    return {item.name: getattr(made, item.name) for item in settings}


def _same(value: T) -> T:
    return value


def _lines(key: str, target: str, settings: list[Setting], error: Any) -> Iterator[str]:
    names = ", ".join(item.name for item in settings) or "none"
    unknown = []
    for item in error.errors():
        line = line_of(item, key)
        if line.endswith(": no such setting"):
            unknown.append(line.removesuffix(": no such setting"))
        else:
            yield line
    if len(unknown) == 1:
        yield f"{unknown[0]}: no such setting of {target}, which has {names}"
    elif unknown:  # mostly those of the choice that the class takes the place of
        ours = target.startswith("iterdpo.")
        custom = "" if ours or "." in key else f"; {key}=custom leaves out what other choices have"
        yield (f"{', '.join(unknown)}: no such settings of {target}, which has {names}{custom}")
