"""``summary.json``: a run's result for machines, written whole and read strictly."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import iterdpo
from iterdpo.errors import UserError
from iterdpo.evaluation.summary import SUMMARY_VERSION, Summary
from iterdpo.store.atomic import write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SUMMARY_FILE = "summary.json"
LONGEST = 40
"""Characters of a version that are told."""


def write_summary(summary: Summary, directory: Path) -> None:
    """Write a run's result into its directory."""
    write_text(directory / SUMMARY_FILE, json.dumps(asdict(summary), indent=1) + "\n")


def read_summary(directory: Path) -> Summary:
    """Read a run's result from its directory.

    Raises:
        UserError: another version of this program wrote it, or another program, or nobody may read
            it.
        FileNotFoundError: there is none.
    """
    path = directory / SUMMARY_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    version, writer = _origin(path, text)
    if version != str(SUMMARY_VERSION):
        raise UserError(
            f"{path}: written by {writer} in version {version} of its form, and iterdpo "
            f"{iterdpo.__version__} reads version {SUMMARY_VERSION}; run the same command again, "
            "or use the version that made the run"
        )
    from pydantic import ValidationError

    try:
        summary = _adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = _line(".".join(map(str, first["loc"])))
        raise UserError(
            f"{path}: {place}: {first['msg'][:1].lower()}{first['msg'][1:]} (written by {writer}); "
            "run the same command again, or use the version that made the run"
        ) from None
    if problem := _inconsistency(summary):
        raise UserError(
            f"{path}: {_line(problem)} (written by {writer}); run the same command again"
        )
    return summary


def _inconsistency(summary: Summary) -> str:
    """Return which part names another that is not there; empty for none."""
    names = [model.name for model in summary.models]
    named: dict[str, str] = {}
    for number, model in enumerate(summary.models):
        # An iteration without a pair goes on with the policy as it was.
        if named.setdefault(model.name, model.fingerprint) != model.fingerprint:
            return f"models.{number}.name: {model.name} is there twice"
        if model.parent is not None and model.parent not in names[:number]:
            return f"models.{number}.parent: there is no model {model.parent} before it"
    if summary.best.model not in names:
        return f"best.model: there is no model {summary.best.model}"
    for number, iteration in enumerate(summary.iterations):
        if iteration.iteration != number + 1:
            return f"iterations.{number}.iteration: must be {number + 1}"
    return ""


def _origin(path: Path, text: bytes) -> tuple[str, str]:
    """Return the version of a summary's form, and who wrote it in words."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is not JSON; run the same command again") from None
    if not isinstance(values, dict) or "version" not in values:
        raise UserError(
            f"{path}: names no version, so an earlier iterdpo or another program wrote it; run the "
            "same command again, or use the version that made the run"
        )
    writer = str(values.get("iterdpo", "of an unknown version"))
    return _line(str(values["version"])[:LONGEST]), f"iterdpo {_line(writer[:LONGEST])}"


def _line(text: str) -> str:
    """Return what a file says, on the line of the message that quotes it."""
    return " ".join(text.split())


@cache
def _adapter() -> TypeAdapter[Summary]:
    from pydantic import TypeAdapter

    return TypeAdapter(Summary)
