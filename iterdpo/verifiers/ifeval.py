"""Answers checked by the constraints of IFEval (arXiv 2311.07911) that their prompts state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from iterdpo.records import Prompt
from iterdpo.verifiers.base import Verifier
from iterdpo.verifiers.constraints import CHECKS, Check, parameters_of


@dataclass(frozen=True, kw_only=True)
class IfEval(Verifier):
    """The share of a prompt's constraints that an answer keeps to, from 0 to 1.

    A prompt's metadata names them as the published file does: ``instruction_id_list``, and
    ``kwargs``, one object for each (``prompts.metadata=[instruction_id_list,kwargs]``). An answer
    of white space keeps to none.
    """

    name: ClassVar[str] = "ifeval"
    version: ClassVar[int] = 1

    accuracy: Literal["strict", "loose"] = "strict"
    """``loose``: a constraint is kept to where the answer does so without its first line, its last
    line, both, or its asterisks (section 2.2), such as an introduction or bold type."""
    level: Literal["instruction", "prompt"] = "instruction"
    """``prompt``: 1 where all constraints are kept to, else 0."""

    def knows(self, prompt: Prompt) -> bool:
        try:
            return bool(constraints_of(prompt))
        except ValueError:
            return False

    def score(self, prompt: Prompt, response: str) -> float:
        texts = variants(response) if self.accuracy == "loose" else [response]
        texts = [text for text in texts if text.strip()]
        kept = [any(map(check, texts)) for check in constraints_of(prompt)]
        return float(all(kept)) if self.level == "prompt" else sum(kept) / len(kept)


def constraints_of(prompt: Prompt) -> list[Check]:
    """Return the checks that a prompt's metadata names, in their order.

    Raises:
        ValueError: one is none of the 25, or lacks a value that it needs.
    """
    names = prompt.metadata.get("instruction_id_list") or []
    values = prompt.metadata.get("kwargs") or [{}] * len(names)
    if len(values) != len(names):
        raise ValueError(f"{len(values)} kwargs for {len(names)} instructions")
    return [_constraint(name, value or {}) for name, value in zip(names, values, strict=True)]


def _constraint(name: str, values: Mapping[str, object]) -> Check:
    if name not in CHECKS:
        raise ValueError(f"{name}: is no constraint of IFEval")
    # A table gives every row every field, null where it is another constraint's.
    needed = parameters_of(CHECKS[name])
    found = {key: value for key, value in values.items() if key in needed and value is not None}
    if missing := sorted(needed - found.keys()):
        raise ValueError(f"{name}: has no {', '.join(missing)}")
    return partial(CHECKS[name], **found)


def variants(response: str) -> Iterator[str]:
    """Yield the eight texts that loose accuracy looks at, the response itself first."""
    lines = response.split("\n")
    for part in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = "\n".join(part).strip()
        yield response if part is lines else text
        yield (response if part is lines else text).replace("*", "")
