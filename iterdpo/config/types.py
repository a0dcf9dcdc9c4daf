"""The types of settings: ranges that pydantic checks, and the decorator of every section."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, with_config
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
# Infinity would do for some settings, and is no value in JSON, which the report's page reads.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def _named(value: object) -> object:
    """Refuse an empty path, as an unset shell variable leaves: it would mean this directory."""
    if value == "":
        raise PydanticCustomError("empty_path", "is empty; name a place, or . for this directory")
    return value


def _at_home(path: Path) -> Path:
    """Return a path without ``~``; refuse one that leads nowhere, whatever there is on the disk."""
    try:
        place = path.expanduser()  # RuntimeError: the home of nobody, or of nobody known
        with suppress(FileNotFoundError, NotADirectoryError):
            place.stat()
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PydanticCustomError(
            "no_place", "cannot be looked at ({reason}); check the path", {"reason": reason}
        ) from None
    return place


def _possible(path: str) -> str:
    _at_home(Path(path))
    return path


Place = Annotated[Path, BeforeValidator(_named), AfterValidator(_at_home)]
"""A file or directory; ``~`` is the user's home, which no shell puts behind ``key=``."""

Source = Annotated[str, AfterValidator(_possible)]
"""What is read: a file, a directory or an id on the hub, as it was written."""

checked = with_config(ConfigDict(extra="forbid", strict=True))
allowing_any = with_config(ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True))
"""The same for settings of a class that we do not know."""
