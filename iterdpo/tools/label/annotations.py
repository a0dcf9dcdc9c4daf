"""What people chose, as the page exports it: read, and held against what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from iterdpo.data.values import excerpt
from iterdpo.errors import UserError
from iterdpo.tools.label.task import Item, LabelTask, read_json

MOST_SECONDS = 10**8
"""Three years before one comparison: more is no time that somebody took."""
EXPORT_FORMAT = "iterdpo labels 1"

Vote = Literal["left", "right", "tie", "skip"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One choice."""

    choice: Vote
    seconds: float
    """From when the item was shown, while the page was in front."""


@dataclass(frozen=True)
class AnnotationFile:
    """What one person chose, by item id."""

    annotator: str
    path: Path
    task: str
    by_item: Mapping[str, Annotation]

    def preferences(self, task: LabelTask) -> dict[str, float]:
        """Return by item id the preference for the first answer: 1, 1/2 or 0; skips are left out.

        Unblinding happens here and nowhere else.
        """
        return {
            item.id: preference_for_first(item, self.by_item[item.id].choice)
            for item in task.items
            if item.id in self.by_item and self.by_item[item.id].choice != "skip"
        }


def preference_for_first(item: Item, choice: Vote) -> float:
    """Return 1 where the first answer was chosen, 0 where the second was, 1/2 for a tie."""
    if choice == "tie":
        return 0.5
    return float((choice == "left") == item.first_is_left)


def read_annotations(paths: Sequence[Path]) -> list[AnnotationFile]:
    """Read exported files, all of one task.

    Raises:
        UserError: a file is no export, two are of different tasks, or one person is there twice.
    """
    read = [_read(path) for path in paths]
    for one in read[1:]:
        if one.task != read[0].task:
            raise UserError(
                f"{one.path}: is of another page than {read[0].path}; import the files of one page "
                "at a time"
            )
    first: dict[str, Path] = {}
    for one in read:
        name = one.annotator.casefold()
        if name in first:
            raise UserError(
                f"{one.path}: {one.annotator!r} is the annotator of {first[name]} too; a person "
                "counts once, so leave out the older file or correct the name in one of them"
            )
        first[name] = one.path
    return read


def check_annotations(annotations: Sequence[AnnotationFile], task: LabelTask) -> None:
    """Refuse what was labeled elsewhere.

    Raises:
        UserError: a file is of another task, or holds an item that the task does not have.
    """
    known = {item.id for item in task.items}
    for one in annotations:
        if one.task != task.hash:
            raise UserError(
                f"{one.path}: was labeled on another page ({excerpt(one.task[:8])}) than the key's "
                f"({task.hash[:8]}); name the key beside that page, --key FILE"
            )
        if strange := sorted(set(one.by_item) - known):
            raise UserError(
                f"{one.path}: {len(strange)} items are not on the page, such as "
                f"{excerpt(strange[0])}; it was edited, export it again from the page"
            )


def _read(path: Path) -> AnnotationFile:
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != EXPORT_FORMAT:
        raise UserError(f"{path}: was not exported by a label page; export it there")
    annotator, task = values.get("annotator"), values.get("task")
    if not (isinstance(annotator, str) and annotator.strip() and isinstance(task, str)):
        raise UserError(f"{path}: names no annotator or no task; export it again from the page")
    listed = values.get("items")
    if not isinstance(listed, list):
        raise UserError(f"{path}: has no list of items; export it again from the page")
    by_item: dict[str, Annotation] = {}
    for number, entry in enumerate(listed, start=1):
        name, annotation = _annotation(path, number, entry)
        if name in by_item:
            raise UserError(f"{path}: item {number} is there twice; export it again from the page")
        by_item[name] = annotation
    if not by_item:
        raise UserError(f"{path}: holds no choice; label something first")
    return AnnotationFile(annotator.strip(), path, task, by_item)


def _annotation(path: Path, number: int, entry: Any) -> tuple[str, Annotation]:
    known = get_args(Vote)
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise UserError(f"{path}: item {number} has no id; export it again from the page")
    if entry.get("choice") not in known:
        raise UserError(
            f"{path}: item {number}: choice={str(entry.get('choice'))[:40]!r} must be one of "
            f"{', '.join(known)}; export it again from the page"
        )
    seconds: Any = entry.get("seconds")
    number_like = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (number_like and 0 <= seconds <= MOST_SECONDS):
        raise UserError(
            f"{path}: item {number} has no seconds from 0 to {MOST_SECONDS:,}; export it again "
            "from the page"
        )
    return entry["id"], Annotation(entry["choice"], float(seconds))
