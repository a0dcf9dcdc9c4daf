"""The types of settings: ranges that pydantic checks, and the decorator of every section."""

from __future__ import annotations

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
    try:
        return path.expanduser()
    except RuntimeError as error:  # of nobody, or of nobody known
        raise ValueError(str(error)) from None


Place = Annotated[Path, BeforeValidator(_named), AfterValidator(_at_home)]
"""A file or directory; ``~`` is the user's home, which no shell puts behind ``key=``."""

checked = with_config(ConfigDict(extra="forbid", strict=True))
allowing_any = with_config(ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True))
"""The same for settings of a class that we do not know."""
