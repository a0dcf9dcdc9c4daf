"""The types of settings: ranges that pydantic checks, and the decorator of every section."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, with_config

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # of nobody, or of nobody known
        raise ValueError(str(error)) from None


Place = Annotated[Path, AfterValidator(_at_home)]
"""A file or directory; ``~`` is the user's home, which no shell puts behind ``key=``."""

checked = with_config(ConfigDict(extra="forbid", strict=True))
