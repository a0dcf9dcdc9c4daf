"""PairRM as a judge: a small ranker that reads a prompt and two answers at once.

LLM-Blender (arXiv 2306.02561). Every answer is compared with every other answer to its prompt, in
both orders, and the logits become scores by MaxLogits, the aggregation that the paper recommends
and ``llm_blender`` uses: see ``max_logits``.

What it reads is put together in ``pairrm_layout``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from iterdpo.config.types import Count, Source
from iterdpo.errors import UserError
from iterdpo.judging.base import Group, Judge, judgment
from iterdpo.judging.own_model import Device, batches_by_length, device_of
from iterdpo.judging.pairrm_layout import TOKENIZER_FILE, PairLayout
from iterdpo.models.accelerators import require_device
from iterdpo.models.checkpoint import checkpoint_sha256, find_checkpoint
from iterdpo.models.hardware import Dtype
from iterdpo.models.loading import free_memory
from iterdpo.models.out_of_memory import in_portions, memory_errors_named
from iterdpo.models.padding import right_padded
from iterdpo.records import Judgment, Policy, Scored, Unscored, UnscoredReason, Verdict
from iterdpo.settings import Keyless, Provided
from iterdpo.store.hashing import HashFile, file_sha256

if TYPE_CHECKING:
    from iterdpo.judging.pairrm_model import PairRM

Logits = Mapping[tuple[int, int], float]
"""For each ordered pair of places, the logit that the first is better when shown first."""


def max_logits(logits: Logits, n: int) -> list[float]:
    """Return one score an answer, of any sign and size; those of a prompt sum to 0.

    s_i = 1/n · sum over j of (M_ij - M_ji), where M_ij is the logit that answer i, shown first, is
    better than answer j. This is MaxLogits of arXiv 2306.02561, with the mean for the
    sum as in ``llm_blender``'s ``get_scores_from_cmps``. Every pair is there in both orders, so the
    order of the answers changes nothing.

    Args:
        logits: M for every ordered pair of different places below ``n``.
        n: the number of answers.
    """
    return [
        math.fsum(logits[i, j] - logits[j, i] for j in range(n) if j != i) / n for i in range(n)
    ]


@dataclass(frozen=True, kw_only=True)
class PairRmJudge(Judge):
    """Ranks the answers to each prompt with PairRM, which is loaded at the first judgment."""

    name: ClassVar[str] = "pairrm"
    version: ClassVar[int] = 1

    path: Annotated[Source, Keyless("counts by what lies there: its files' hash")]
    """A checkpoint directory or a hub id, in the layout of ``llm-blender/PairRM-hf``."""
    revision: Annotated[str | None, Keyless("likewise")]
    """The hub's branch, tag or commit."""
    device: Annotated[Device, Keyless("counts by the device that it means here")]
    dtype: Dtype
    batch_size: Count
    """Comparisons in one forward pass. It changes the bits."""
    source_tokens: Annotated[int, Field(ge=16)]
    """Longest prompt, its markers included; what is longer is cut at its end."""
    candidate_tokens: Annotated[int, Field(ge=16)]
    """Longest answer, likewise; more where the prompt leaves room."""
    hash_file: Provided[HashFile] = file_sha256

    @cached_property
    def content(self) -> Mapping[str, object]:
        return {
            "checkpoint": checkpoint_sha256(self._checkpoint, "judge.path", self.hash_file),
            "device": device_of(self.device).type,
        }

    @property
    def by_prompt(self) -> bool:
        return True

    @property
    def holds_model(self) -> bool:
        return True

    @property
    def counts(self) -> Mapping[str, float]:
        """Pairs compared, pairs whose two orders named different winners, pairs cut to fit."""
        return dict(self._counts)

    def prepare(self) -> None:
        require_device("judge.device", self.device)
        super().prepare()

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        groups = list(groups)
        name = self.fingerprint
        for group, found in zip(groups, self._compare(groups), strict=True):
            answers = group.candidates
            for place, score in enumerate(max_logits(found, len(answers))):
                raw = tuple(
                    f"against {other.id}: {found[place, at]:+.4f} shown first, "
                    f"{-found[at, place]:+.4f} shown second"
                    for at, other in enumerate(answers)
                    if at != place
                )
                yield judgment(answers[place], name, _verdict(score, len(answers)), raw=raw)

    def close(self) -> None:
        vars(self).pop("_loaded", None)
        free_memory()

    def _compare(self, groups: Sequence[Group]) -> list[dict[tuple[int, int], float]]:
        """Return of each group the logit of each ordered pair of places in it."""
        model, layout = self._loaded
        rows: list[list[int]] = []
        places: list[tuple[int, tuple[int, int]]] = []
        for number, group in enumerate(groups):
            source = layout.body(group.prompt.text)
            bodies = [layout.body(candidate.text) for candidate in group.candidates]
            for i, j in permutations(range(len(bodies)), 2):
                row, cut = layout.row(source, bodies[i], bodies[j])
                rows.append(row)
                places.append((number, (i, j)))
                self._counts["truncated"] += cut and i < j
        logits: list[dict[tuple[int, int], float]] = [{} for _ in groups]
        for batch in batches_by_length(rows, self.batch_size):
            with memory_errors_named("the judge", "lower judge.batch_size or use judge.device=cpu"):
                values = in_portions(
                    [rows[at] for at in batch], len(batch), partial(self._logits, model)
                )
            for at, value in zip(batch, values, strict=True):
                number, pair = places[at]
                logits[number][pair] = value
        for found in logits:
            self._counts["comparisons"] += len(found) // 2
            self._counts["flipped"] += sum(
                value * found[j, i] > 0 for (i, j), value in found.items() if i < j
            )
        return logits

    def _logits(self, model: PairRM, rows: Sequence[Sequence[int]]) -> list[float]:
        import torch

        ids, mask = right_padded(rows, model.padding, self._device)
        with torch.no_grad():
            values: list[float] = model(ids, mask).float().tolist()
        return values

    @cached_property
    def _loaded(self) -> tuple[PairRM, PairLayout]:
        from iterdpo.judging.pairrm_model import load_pairrm

        layout = PairLayout.load(self._checkpoint, self.source_tokens, self.candidate_tokens)
        model = load_pairrm(self._checkpoint, self.dtype, self._device)
        if model.markers != (layout.source, *layout.candidates):
            raise UserError(
                f"judge.path={self._checkpoint}: config.json names the markers {model.markers}, "
                f"{TOKENIZER_FILE} {(layout.source, *layout.candidates)}"
            )
        if layout.highest >= (size := model.config.vocab_size):
            raise UserError(
                f"judge.path={self._checkpoint}: {TOKENIZER_FILE} has tokens up to "
                f"{layout.highest}, and the model has {size} of them (vocab_size); give a "
                "checkpoint whose two belong together"
            )
        return model, layout

    @cached_property
    def _checkpoint(self) -> Path:
        return find_checkpoint(self.path, self.revision, "judge.path")

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter({"comparisons": 0, "flipped": 0, "truncated": 0})

    @property
    def _device(self) -> Any:
        return device_of(self.device)


def _verdict(score: float, answers: int) -> Verdict:
    if answers < 2:
        return Unscored(UnscoredReason.TOO_FEW_READABLE, "no other answer to compare it with")
    if not math.isfinite(score):
        return Unscored(UnscoredReason.OUT_OF_RANGE, repr(score))
    return Scored(score)
