"""What people are asked, blinded: items for the page, and the key that tells the sides apart.

An item's id is a hash of what is shown, and the task's hash one of all items in order: what was
labeled can be held against what was asked, and neither hash says which side is which.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from iterdpo.data.content import json_reason, json_value, text_file
from iterdpo.errors import UserError
from iterdpo.records import record_id
from iterdpo.store.hashing import derive_seed, sha256_of

Kind = Literal["models", "pairs", "candidates"]
KINDS: tuple[Kind, ...] = get_args(Kind)

KEY_FORMAT = "iterdpo label key 1"
KEY_SUFFIX = ".key.json"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two answers."""

    name: str
    """``M3``, ``M0``; ``chosen``, ``rejected``; ``a``, ``b``."""
    candidate_id: str
    text: str
    score: float | None = None
    """What the judge of the run gave it, where one judge scored both sides."""


@dataclass(frozen=True, slots=True)
class Question:
    """Two answers to one prompt. What is measured is how often ``first`` is preferred."""

    prompt_id: str
    prompt: str
    first: Side
    second: Side


@dataclass(frozen=True, slots=True)
class Item:
    """A question as a person sees it, the first answer on the left or on the right."""

    id: str
    prompt: str
    left: str
    right: str
    first_is_left: bool
    question: Question

    @classmethod
    def of(cls, question: Question, seed: int) -> Item:
        """Blind a question: the seed and the candidates decide the side."""
        first, second = question.first, question.second
        names = first.candidate_id, second.candidate_id
        first_is_left = derive_seed(seed, "side", names) % 2 == 0
        left, right = (first, second) if first_is_left else (second, first)
        shown = json.dumps([question.prompt, left.text, right.text])
        return cls(
            record_id("item", (), 0, shown), question.prompt, left.text, right.text,
            first_is_left, question,
        )  # fmt: skip


@dataclass(frozen=True)
class LabelTask:
    """All items of a page, in the order shown."""

    kind: Kind
    run: str
    seed: int
    names: tuple[str, str]
    """What the first and the second answer are."""
    items: tuple[Item, ...]
    identical: int = 0
    """Questions that were not asked since both answers are the same text."""
    total: int = 0
    """Questions there were to choose from, the identical ones included."""

    @property
    def hash(self) -> str:
        """64 hex digits over what is shown, in order."""
        return sha256_of([[item.id, item.prompt, item.left, item.right] for item in self.items])


def make_task(
    kind: Kind,
    run: str,
    names: tuple[str, str],
    questions: Sequence[Question],
    count: int,
    seed: int,
) -> LabelTask:
    """Choose up to ``count`` questions, mix and blind them.

    Every prompt comes once before any comes twice: answers to one prompt say less than answers to
    two.

    Raises:
        UserError: there is no question whose two answers differ.
    """
    differing = [item for item in questions if item.first.text.split() != item.second.text.split()]
    if not differing:
        raise UserError(
            f"--kind={kind}: there are no two different answers to compare in {run} "
            f"({len(questions)} pairs, all identical)"
        )
    ordered = sorted(differing, key=lambda item: _place(seed, item))
    turns: dict[str, int] = {}
    ranked = []
    for question in ordered:
        turns[question.prompt_id] = turns.get(question.prompt_id, 0) + 1
        ranked.append((turns[question.prompt_id], question))
    ranked.sort(key=lambda pair: pair[0])
    items = {item.id: item for item in (Item.of(question, seed) for _, question in ranked)}
    chosen = sorted(list(items.values())[:count], key=lambda item: _place(seed + 1, item.question))
    return LabelTask(
        kind, run, seed, names, tuple(chosen), len(questions) - len(differing), len(questions)
    )


def _place(seed: int, question: Question) -> str:
    ids = [question.prompt_id, question.first.candidate_id, question.second.candidate_id]
    return hashlib.sha256(json.dumps([seed, *ids]).encode()).hexdigest()


def key_text(task: LabelTask) -> str:
    """Return the key as JSON: which side is which. Whoever labels must not see it."""
    values = {
        "format": KEY_FORMAT,
        "task": task.hash,
        "kind": task.kind,
        "run": task.run,
        "seed": task.seed,
        "names": list(task.names),
        "identical": task.identical,
        "total": task.total,
        "items": [asdict(item) for item in task.items],
    }
    return json.dumps(values, indent=1) + "\n"


def read_key(path: Path) -> LabelTask:
    """Read a key and hold its items against its hash.

    Raises:
        UserError: it is no key, or was changed after the page was made.
    """
    from pydantic import TypeAdapter, ValidationError

    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != KEY_FORMAT:
        raise UserError(f"{path}: is no key of a label page; name the {KEY_SUFFIX} beside the page")
    try:
        task = TypeAdapter(LabelTask).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path}: is damaged ({place}: {first['msg']}); make page and key again"
        ) from None
    blinded = {Item.of(item.question, task.seed).id for item in task.items}
    counted = 0 <= task.identical <= task.total - len(task.items)
    same = task.hash == values.get("task") and blinded == {item.id for item in task.items}
    if not (counted and same):
        raise UserError(
            f"{path}: was changed after its page was made; make page and key again with the same "
            "command"
        )
    return task


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    try:
        return json_value(text_file(path, str(path)))
    except ValueError as error:
        raise UserError(
            f"{path}: is not JSON ({json_reason(error)}); export it again from the page"
        ) from None
