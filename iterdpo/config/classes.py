"""Classes found by the name that a configuration gives them, ours or of the user's own."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from iterdpo.errors import ConfigError


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
    own = _attribute(target, said)
    needed = _attribute(kind, kind)
    if not isinstance(own, type):
        raise ConfigError([f"{said}: is no class but {type(own).__name__}"])
    if not issubclass(own, needed):
        raise ConfigError(
            [f"{said}: is no {base.rpartition('.')[2]}; derive the class from {base}"]
        )
    if missing := sorted(getattr(own, "__abstractmethods__", ())):
        raise ConfigError([f"{said}: lacks {', '.join(missing)}; see {base}"])
    return own


def _attribute(target: str, said: str) -> Any:
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
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError([f"{said}: cannot be imported ({reason})"]) from error


def _file(path: Path, said: str) -> ModuleType:
    """Import a file by its place, once a process; its name is that of the file."""
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
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
