"""PairRM as a judge: a small ranker that reads a prompt and two answers at once.

LLM-Blender (arXiv 2306.02561). Every answer is compared with every other answer to its prompt, in
both orders, and the logits become scores by MaxLogits, the aggregation that the paper recommends
and ``llm_blender`` uses: see ``max_logits``.

What it reads is put together in ``pairrm_layout``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.errors import UserError
from iterdpo.judging.base import Judge, grouped_by_prompt, judgment, prompt_texts
from iterdpo.judging.own_model import (
    Device,
    Dtype,
    batches_by_length,
    device_of,
)
from iterdpo.judging.pairrm_layout import TOKENIZER_FILE, PairLayout
from iterdpo.models.loading import free_memory
from iterdpo.models.padding import right_padded
from iterdpo.records import (
    Candidate,
    Judgment,
    Policy,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
    Verdict,
    judge_fingerprint,
)

if TYPE_CHECKING:
    from iterdpo.judging.pairrm_model import PairRM

Logits = Mapping[tuple[int, int], float]
"""For each ordered pair of places, the logit that the first is better when shown first."""


@dataclass(frozen=True, kw_only=True)
class PairRmSettings:
    """Which ranker, and how it is run."""

    checkpoint: Path
    sha256: str
    """Hash of the checkpoint's files."""
    device: Device
    dtype: Dtype
    batch_size: int
    """Comparisons in one forward pass."""
    source_tokens: int = 1224
    """Longest prompt, its markers included."""
    candidate_tokens: int = 412
    """Longest answer, its markers included, where the prompt takes all of its own room."""


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


class PairRmJudge(Judge):
    """Ranks the answers to each prompt with PairRM, which is loaded at the first judgment."""

    def __init__(self, settings: PairRmSettings) -> None:
        self.settings = settings
        self._loaded: tuple[PairRM, PairLayout] | None = None
        self._counts: Counter[str] = Counter({"comparisons": 0, "flipped": 0, "truncated": 0})

    @property
    def identity(self) -> Mapping[str, object]:
        settings = self.settings
        # The batch size and the device are here because they change the bits.
        return {
            "judge": "pairrm",
            "checkpoint": settings.sha256,
            "source_tokens": settings.source_tokens,
            "candidate_tokens": settings.candidate_tokens,
            "device": device_of(settings.device).type,
            "dtype": settings.dtype,
            "batch_size": settings.batch_size,
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

    def judge(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], policy: Policy
    ) -> Iterator[Judgment]:
        texts = prompt_texts(prompts, candidates)
        groups = grouped_by_prompt(candidates)
        logits = self._compare(texts, groups)
        name = judge_fingerprint(self.identity)
        made: dict[str, Judgment] = {}
        for prompt_id, group in groups.items():
            found = logits[prompt_id]
            for place, score in enumerate(max_logits(found, len(group))):
                raw = tuple(
                    f"against {other.id}: {found[place, at]:+.4f} shown first, "
                    f"{-found[at, place]:+.4f} shown second"
                    for at, other in enumerate(group)
                    if at != place
                )
                verdict = _verdict(score, len(group))
                made[group[place].id] = judgment(group[place], name, verdict, raw=raw)
        for candidate in candidates:
            yield made[candidate.id]

    def close(self) -> None:
        self._loaded = None
        free_memory()

    def _compare(
        self, texts: Mapping[str, str], groups: Mapping[str, Sequence[Candidate]]
    ) -> dict[str, dict[tuple[int, int], float]]:
        """Return by prompt id the logit of each ordered pair of places in its group."""
        model, layout = self._load()
        rows: list[list[int]] = []
        places: list[tuple[str, tuple[int, int]]] = []
        for prompt_id, group in groups.items():
            source = layout.body(texts[prompt_id])
            bodies = [layout.body(candidate.text) for candidate in group]
            for i, j in permutations(range(len(group)), 2):
                row, cut = layout.row(source, bodies[i], bodies[j])
                rows.append(row)
                places.append((prompt_id, (i, j)))
                self._counts["truncated"] += cut and i < j
        logits: dict[str, dict[tuple[int, int], float]] = {name: {} for name in groups}
        for batch in batches_by_length(rows, self.settings.batch_size):
            values = self._logits(model, [rows[at] for at in batch])
            for at, value in zip(batch, values, strict=True):
                prompt_id, pair = places[at]
                logits[prompt_id][pair] = value
        for found in logits.values():
            self._counts["comparisons"] += len(found) // 2
            self._counts["flipped"] += sum(
                value * found[j, i] > 0 for (i, j), value in found.items() if i < j
            )
        return logits

    def _logits(self, model: PairRM, rows: Sequence[Sequence[int]]) -> list[float]:
        import torch

        ids, mask = right_padded(rows, model.config.pad_token_id or 0, self._device)
        with torch.no_grad():
            values: list[float] = model(ids, mask).float().tolist()
        return values

    def _load(self) -> tuple[PairRM, PairLayout]:
        if self._loaded is None:
            from iterdpo.judging.pairrm_model import load_pairrm

            settings = self.settings
            layout = PairLayout.load(
                settings.checkpoint, settings.source_tokens, settings.candidate_tokens
            )
            model = load_pairrm(settings.checkpoint, settings.dtype, self._device)
            config = model.config
            said = (config.source_prefix_id, config.cand1_prefix_id, config.cand2_prefix_id)
            if said != (layout.source, *layout.candidates):
                raise UserError(
                    f"judge.pairrm.path={settings.checkpoint}: config.json names the markers "
                    f"{said}, {TOKENIZER_FILE} {(layout.source, *layout.candidates)}"
                )
            self._loaded = model, layout
        return self._loaded

    @property
    def _device(self) -> Any:
        return device_of(self.settings.device)


def _verdict(score: float, answers: int) -> Verdict:
    if answers < 2:
        return Unscored(UnscoredReason.TOO_FEW_READABLE, "no other answer to compare it with")
    if not math.isfinite(score):
        return Unscored(UnscoredReason.OUT_OF_RANGE, repr(score))
    return Scored(score)
