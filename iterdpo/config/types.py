"""The types of settings: ranges that pydantic checks, and the decorator of every section."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, with_config

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

checked = with_config(ConfigDict(extra="forbid", strict=True))
