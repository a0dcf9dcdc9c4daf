"""What a class says of its settings beside their types: what enters a key, what a run provides.

A setting is a field of a dataclass, and these marks stand in its ``Annotated`` type::

    concurrency: Annotated[int, Keyless("speed")]
    max_tokens: Annotated[int | None, Neutral(None)] = 512
    engine: Provided[Engine]

Keys name what was computed. A setting that changes no result is ``Keyless``. A setting that is
added later has a ``Neutral`` value, the behavior from before it existed: at that value it is in no
key, so that what anybody has computed stays found. It is written once, beside the field, and never
changes, whatever the default becomes.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from iterdpo.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Keyless:
    """The setting is in no key: it changes no result."""

    reason: str


@dataclass(frozen=True, slots=True)
class CountsElsewhere(Keyless):
    """It changes results, and enters keys in another way: by a file's hash, or another stage."""


@dataclass(frozen=True, slots=True)
class Neutral:
    """The setting is in no key, and the field in no id and no stored row, at this value."""

    value: object


@dataclass(frozen=True, slots=True)
class _Provided:
    """The field is no setting: the run gives it, by its name."""


Provided = Annotated[T, _Provided()]
"""The type of a field that is no setting: ``engine``, ``seed`` and what else a run provides."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One parameter of a class."""

    name: str
    hint: Any
    """Its type, with all that ``Annotated`` adds."""
    default: Any = MISSING
    marks: tuple[object, ...] = ()

    @property
    def provided(self) -> bool:
        return any(isinstance(mark, _Provided) for mark in self.marks)

    @property
    def keyless(self) -> bool:
        return any(isinstance(mark, Keyless) for mark in self.marks)

    @property
    def has_neutral(self) -> bool:
        return any(isinstance(mark, Neutral) for mark in self.marks)

    def is_neutral(self, value: object) -> bool:
        """Tell whether this is the value at which the setting changes nothing."""
        return any(isinstance(mark, Neutral) and mark.value == value for mark in self.marks)


def settings_of(kind: Any) -> tuple[Setting, ...]:
    """Return the parameters of a class: a dataclass's fields, or those of ``__init__``.

    Raises:
        TypeError: a type cannot be found by its name, or a parameter has none.
    """
    return _settings_of(kind)


@functools.cache
def _settings_of(kind: Any) -> tuple[Setting, ...]:
    own: dict[str, Any]
    if is_dataclass(kind):
        typed, own = kind, {item.name: _default(item) for item in fields(kind) if item.init}
    else:
        typed = vars(kind).get("__init__", object.__init__)
        parameters = inspect.signature(kind).parameters.values()
        own = {i.name: MISSING if i.default is i.empty else i.default for i in parameters}
    try:
        hints = get_type_hints(typed, include_extras=True)
    except NameError as error:
        raise TypeError(f"its types cannot be read: {error}") from None
    if untyped := [name for name in own if name not in hints]:
        raise TypeError(f"its setting {untyped[0]} has no type")
    return tuple(_setting(name, hints[name], default) for name, default in own.items())


def key_settings(value: Any) -> dict[str, object]:
    """Return, of an object's settings, those that enter a key, nested ones likewise.

    Args:
        value: an instance of a dataclass, or of a class that keeps its parameters as attributes.
    """
    return {
        item.name: _inner(own)
        for item in settings_of(type(value))
        if not (item.provided or item.keyless)
        and not item.is_neutral(own := getattr(value, item.name))
    }


def identity(value: Any) -> dict[str, object]:
    """Return what an object is, for a key: of our classes name, version and settings.

    An edit or a rename of our file moves nobody's keys. A class of the user's own counts by where
    it is found, its settings and the sha256 of its source: an edit computes anew what depends on
    it. Modules that it imports do not count.

    Two properties, where a class has them, say more of an object than its settings:

    - ``content``: a mapping of what its settings name rather than hold, and of what it is provided
      with: files by their hash, the engine by what it is.
    - ``unread_settings``: a set of the names of those settings that the others make unread. They
      are left out.

    Raises:
        UserError: a class without a source file, as in a notebook, sets no ``version``.
    """
    kind: Any = type(value)
    head: dict[str, object]
    if is_ours(kind):
        head = {"name": kind.name, "version": kind.version}
    else:
        head = {"target": f"{kind.__module__}.{kind.__qualname__}", **_source(kind)}
    unread = _property(value, "unread_settings") or ()
    settings = {name: own for name, own in key_settings(value).items() if name not in unread}
    content = _property(value, "content") or {}
    return {**head, **({"settings": settings} if settings else {}), **content}


def is_ours(kind: type) -> bool:
    """Tell whether a class is one of this package, and not of a user's own."""
    return kind.__module__.partition(".")[0] == __package__


def _property(value: Any, name: str) -> Any:
    """Return a property of an object; None where its class has none, a setting of that name apart.

    An ``AttributeError`` inside of it is an error, and no sign that there is none.
    """
    found = inspect.getattr_static(type(value), name, None)
    return getattr(value, name) if isinstance(found, property | functools.cached_property) else None


@functools.cache  # the text that was imported, whatever becomes of the file while a run goes on
def _source(kind: Any) -> Mapping[str, object]:
    if "version" in vars(kind):
        return {"version": kind.version}
    try:
        file = inspect.getsourcefile(kind)
        source = Path(file or "").read_bytes()
    except (OSError, TypeError):
        raise UserError(
            f"{kind.__qualname__}: has no source file to tell its versions apart; put it into a "
            "file, or give the class a version and raise it at every change: version = 1"
        ) from None
    return {"source": hashlib.sha256(source).hexdigest()}


def _inner(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return key_settings(value)
    if isinstance(value, Mapping):
        return {key: _inner(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_inner(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_inner(item) for item in value), key=repr)
    return value


def _setting(name: str, hint: Any, default: Any) -> Setting:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return Setting(name, hint, default, tuple(marks))


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default
