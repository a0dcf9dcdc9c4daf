"""The pairs of one run or several, as the page's script looks through them.

Texts are stored once, however many pairs share them, and tables by column: a pair of the lab takes
about 500 bytes. The script shows every text as text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iterdpo.config.choices import TARGET
from iterdpo.errors import UserError
from iterdpo.evaluation.oracles import LAB
from iterdpo.records import Prompt
from iterdpo.runs.directory import Run
from iterdpo.tools.report.labels import PairLabel, lab_label, why_wrong
from iterdpo.tools.report.reading import Iteration, Row, iterations
from iterdpo.tools.report.sampling import PairEntry, choose

BUDGET = 9_000_000
"""Bytes of JSON that the pairs may take: the page stays below 15 MB, its scripts included."""
LONGEST = 20_000
"""Characters of a text that the page shows; the store has all of it."""

PairLabeler = Callable[[str, str, str], PairLabel | None]


@dataclass(frozen=True, slots=True)
class PairSide:
    """One of a pair's two answers, and what the judge said of it."""

    candidate: Row
    judgment: Row


@dataclass(frozen=True, slots=True)
class Shown:
    """One pair with everything that is shown of it."""

    source: int
    """Which of the sources it is from."""
    pair: Row
    prompt: Prompt
    chosen: PairSide
    rejected: PairSide
    label: PairLabel | None
    """None where nothing is known of the label."""

    @property
    def margin(self) -> float:
        return float(self.pair["chosen_score"] - self.pair["rejected_score"])

    @property
    def wrong(self) -> bool:
        return self.label is not None and self.label.verdict == "wrong"


@dataclass(frozen=True, slots=True)
class Source:
    """A ``pairs`` stage: what one iteration made, for every run that shares it."""

    iteration: int
    runs: list[int]
    scale: tuple[float, float] | None
    """Lowest and highest score that the judge could give."""


@dataclass(frozen=True, slots=True)
class Found:
    """The pairs of some runs, and what could not be read."""

    pairs: Sequence[Shown]
    sources: Sequence[Source]
    missing: Sequence[str]
    """Why an iteration's pairs are not there, a line each."""

    def of_iteration(self, iteration: int) -> list[Shown]:
        return [pair for pair in self.pairs if self.sources[pair.source].iteration == iteration]


def find(runs: Sequence[Run]) -> Found:
    """Read the pairs of all runs. What several runs share, as in a sweep, is there once."""
    pairs: list[Shown] = []
    sources: dict[str, tuple[int, Source]] = {}
    missing: dict[str, str] = {}
    for number, run in enumerate(runs):
        label = labeler(run)
        for iteration in iterations(run):
            stage = iteration.stages.pairs
            if stage in sources:
                sources[stage][1].runs.append(number)
            elif stage not in missing:
                try:
                    shown = list(_shown(len(sources), iteration, label))
                    source = Source(iteration.number, [number], iteration.scale)
                except UserError as error:
                    missing[stage] = f"M{iteration.number}: {error}"
                    continue
                pairs += shown
                sources[stage] = len(sources), source
    return Found(pairs, [source for _, source in sources.values()], list(missing.values()))


def labeler(run: Run) -> PairLabeler | None:
    """Return what tells right labels from wrong ones in a run, where anything does."""
    oracle = run.values["evaluation"].get("oracle") or {}
    return lab_label if oracle.get(TARGET) == LAB else None


def _shown(source: int, made: Iteration, label: PairLabeler | None) -> Iterator[Shown]:
    for pair in made.pairs:
        prompt = made.prompts[pair["prompt_id"]]
        chosen, rejected = (
            PairSide(made.candidates[pair[name]], made.judgments[pair[name]])
            for name in ("chosen_id", "rejected_id")
        )
        texts = prompt.text, chosen.candidate["text"], rejected.candidate["text"]
        yield Shown(source, pair, prompt, chosen, rejected, label(*texts) if label else None)


def for_page(found: Found, runs: Sequence[Run], budget: int = BUDGET) -> dict[str, Any]:
    """Return what the script needs, as plain data of about ``budget`` bytes of JSON at most."""
    items = [_item(pair) for pair in found.pairs]
    kept = [found.pairs[position] for position in choose(items, budget)]
    texts, answers = _Texts(), _Answers()
    rows = [_row(pair, texts, answers) for pair in kept]
    everywhere = [found.pairs, kept]
    total, wrong = (
        [len(pairs) for pairs in everywhere],
        [sum(pair.wrong for pair in pairs) for pairs in everywhere],
    )
    return {
        "runs": [run.name for run in runs],
        "sources": [
            {"iteration": source.iteration, "runs": source.runs, "scale": source.scale}
            for source in found.sources
        ],
        "models": {model.fingerprint: model.name for run in runs for model in run.models},
        "labeled": any(pair.label for pair in kept),
        "total": total[0],
        "wrong": wrong[0],
        "left_out": total[0] - total[1],
        "wrong_left_out": wrong[0] - wrong[1],
        "cut": texts.cut,
        "missing": list(found.missing),
        "texts": texts.texts,
        "answers": _columns(answers.rows),
        "pairs": _columns(rows),
    }


def _row(pair: Shown, texts: _Texts, answers: _Answers) -> dict[str, Any]:
    label = pair.label
    return {
        "id": pair.pair["id"],
        "source": pair.source,
        "prompt": texts.place(pair.prompt.text),
        "beside": texts.place(beside) if (beside := _beside(pair.prompt)) else None,
        "prompt_id": pair.prompt.id,
        "from": pair.prompt.source,
        "chosen": answers.place(pair.chosen, texts),
        "rejected": answers.place(pair.rejected, texts),
        "margin": round(pair.margin, 4),
        "label": label.verdict if label else None,
        "oracle": [label.chosen_score, label.rejected_score] if label else None,
        "missed": [list(label.chosen_missed), list(label.rejected_missed)] if label else None,
        "why": (
            why_wrong(label, pair.pair["chosen_score"], pair.pair["rejected_score"])
            if label and pair.wrong
            else None
        ),
    }


def _beside(prompt: Prompt) -> str:
    """Return what judges were told of a prompt beside its text; empty where that is nothing."""
    lines = [] if prompt.reference is None else [f"Right answer: {prompt.reference}"]
    return "\n".join([*lines, *(f"{item.weight:+g}: {item.text}" for item in prompt.rubric)])


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows that have the same keys as one list a key."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


@dataclass
class _Texts:
    """Numbers texts in the order they come."""

    texts: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    cut: int = 0
    """Texts that were shortened."""

    def place(self, text: str) -> int:
        """Return the number of ``text``."""
        if text not in self.places:
            self.places[text] = len(self.texts)
            self.cut += len(text) > LONGEST
            self.texts.append(shortened(text))
        return self.places[text]


@dataclass
class _Answers:
    """Numbers judged answers in the order they come."""

    rows: list[Mapping[str, Any]] = field(default_factory=list)
    places: dict[tuple[str, str], int] = field(default_factory=dict)

    def place(self, side: PairSide, texts: _Texts) -> int:
        candidate, judgment = side.candidate, side.judgment
        key = candidate["id"], judgment["id"]
        if key not in self.places:
            self.places[key] = len(self.rows)
            self.rows.append(
                {
                    "id": candidate["id"],
                    "text": texts.place(candidate["text"]),
                    "index": candidate["index"],
                    "seed": candidate["seed"],
                    "tokens": candidate["tokens"],
                    "truncated": int(candidate["truncated"]),
                    "policy": candidate["policy"],
                    "judgment": judgment["id"],
                    "judge": judgment["judge"],
                    "score": round(judgment["score"], 4),
                    "raw": [texts.place(text) for text in judgment["raw"] or ()],
                    "distribution": [round(share, 4) for share in judgment["distribution"] or ()],
                    "mass": None if judgment["mass"] is None else round(judgment["mass"], 4),
                }
            )
        return self.places[key]


def shortened(text: str) -> str:
    """Return what the page shows of a text: all of it, unless it is very long."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n[{len(text) - LONGEST:,} more characters are in the store]"


def _item(pair: Shown) -> PairEntry:
    """Say how much of the page a pair takes, shared texts counted as if they were not."""
    texts = [pair.prompt.text, _beside(pair.prompt)]
    for side in (pair.chosen, pair.rejected):
        texts += [side.candidate["text"], *(side.judgment["raw"] or ())]
    size = _FIXED + sum(
        len(json.dumps(shortened(text), ensure_ascii=False).encode("utf-8", "replace"))
        for text in texts
    )
    return PairEntry(pair.pair["id"], pair.source, pair.margin, pair.wrong, size)


_FIXED = 700
"""Bytes of a pair besides its texts: ids, seeds, scores, distributions."""
