"""``summary.json``: a run's result for machines, written whole and read strictly."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import iterdpo
from iterdpo.errors import UserError
from iterdpo.evaluation.summary import SUMMARY_VERSION, Summary
from iterdpo.store.atomic import write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SUMMARY_FILE = "summary.json"


def write_summary(summary: Summary, directory: Path) -> None:
    """Write a run's result into its directory."""
    write_text(directory / SUMMARY_FILE, json.dumps(asdict(summary), indent=1) + "\n")


def read_summary(directory: Path) -> Summary:
    """Read a run's result from its directory.

    Raises:
        UserError: another version of this program wrote it, or another program.
        FileNotFoundError: there is none.
    """
    path = directory / SUMMARY_FILE
    text = path.read_bytes()
    version, writer = _origin(path, text)
    if version != SUMMARY_VERSION:
        raise UserError(
            f"{path}: written by {writer} in version {version} of its form, and iterdpo "
            f"{iterdpo.__version__} reads version {SUMMARY_VERSION}; run the same command again, "
            "or use the version that made the run"
        )
    from pydantic import ValidationError

    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path}: {place}: {first['msg'][:1].lower()}{first['msg'][1:]} (written by {writer}); "
            "run the same command again, or use the version that made the run"
        ) from None


def _origin(path: Path, text: bytes) -> tuple[Any, str]:
    """Return the version of a summary's form, and who wrote it in words."""
    try:
        values = json.loads(text)
    except ValueError:
        raise UserError(f"{path}: is not JSON; run the same command again") from None
    if not isinstance(values, dict) or "version" not in values:
        raise UserError(
            f"{path}: names no version, so an earlier iterdpo or another program wrote it; run the "
            "same command again, or use the version that made the run"
        )
    return values["version"], f"iterdpo {values.get('iterdpo', 'of an unknown version')}"


@cache
def _adapter() -> TypeAdapter[Summary]:
    from pydantic import TypeAdapter

    return TypeAdapter(Summary)
