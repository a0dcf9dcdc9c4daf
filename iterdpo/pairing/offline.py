"""Offline preference pairs, as they stand in a dataset: nothing is ranked and nothing chosen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from iterdpo.config.types import Count, Source, checked
from iterdpo.pairing.base import DropReason, Pairing, PairSource, Ranked, make_pair
from iterdpo.records import Candidate, Judgment, Prompt

CHOSEN, REJECTED = "chosen", "rejected"
"""What a row's two answers are called, and the remainders of their indices by 2: 0 and 1."""


@checked
@dataclass(frozen=True, kw_only=True)
class PairsDataset:
    """Which rows of a dataset are preference pairs, and what their fields are called.

    A prompt is a text or a list of messages and may be left to the conversations in ``chosen`` and
    ``rejected``: the formats of TRL, UltraFeedback-binarized and HH-RLHF are read.
    """

    path: Source
    """A file (JSONL, JSON, CSV, TSV or Parquet), a directory or a hub id."""
    subset: str | None
    """The dataset's configuration, where it has several."""
    split: str
    evaluation_split: str | None
    """With ``prompts=pairs``, the split whose prompts are held out for evaluation. Null holds out
    ``prompts.held_out_share`` of ``split``, chosen by a hash of the text."""
    revision: str | None
    """Branch, tag or commit on the hub; null for the default branch. A commit stays the same."""
    files: tuple[str, ...]
    """Files of the repository to read instead of a split."""
    chosen: str
    rejected: str
    prompt: str
    """The field of the prompt; where there is none, it is what both conversations share."""
    system: str
    """The field of a system message, where there is one."""
    chosen_score: str
    """The field of the chosen answer's score. Where a row lacks one of the two scores, the chosen
    answer counts 1 and the rejected one 0."""
    rejected_score: str
    max_rows: Count | None
    """Read no more rows than these, the first ones; null reads all."""
    per_iteration: Count | None
    """Distinct prompts an iteration, each with all of its pairs: iterations get disjoint ones until
    all are dealt out. Null gives every iteration all of them."""


@dataclass(frozen=True)
class OfflineDataset(PairSource):
    """The pairs of a dataset, in place of those that the loop would make itself."""

    name: ClassVar[str] = "offline"
    version: ClassVar[int] = 1

    dataset: PairsDataset

    def __post_init__(self) -> None:
        dataset, split = self.dataset, self.dataset.evaluation_split
        if split is None:
            return
        key = f"dataset.evaluation_split={split}"
        if dataset.files or Path(dataset.path).expanduser().is_file():
            raise ValueError(
                f"{key}: a file has no splits; set it to null, and a share of the prompts is held "
                "out"
            )
        if split == dataset.split:
            raise ValueError(
                f"{key}: is the split that is trained on; name another, or set it to null"
            )


def keep_offline_pairs(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    judgments: Sequence[Judgment],
    longest: int | None,
) -> Pairing:
    """Pair the answers of each row, so that kept + dropped = rows.

    Equal scores are no reason to drop a pair: whoever gave it said which answer is better.

    Args:
        prompts: all prompts of the iteration.
        candidates: their answers; a row's chosen and rejected ones have the indices 2j and 2j + 1.
        judgments: one for each candidate.
        longest: most tokens of prompt and answer together; None for no limit.

    Raises:
        ValueError: an answer has no counterpart, no score, or no prompt.
    """
    scored = {judgment.candidate_id: judgment for judgment in judgments}
    rows: defaultdict[tuple[str, int], dict[int, Ranked]] = defaultdict(dict)
    for candidate in candidates:
        judgment = scored[candidate.id]
        if judgment.score is None:
            raise ValueError(f"candidate {candidate.id}: given without a score")
        row, side = divmod(candidate.index, 2)
        rows[candidate.prompt_id, row][side] = Ranked(candidate, judgment, judgment.score)
    kept, dropped = [], Counter[DropReason]()
    by_id = {prompt.id: prompt for prompt in prompts}
    for (prompt_id, row), sides in rows.items():
        if set(sides) != {0, 1} or prompt_id not in by_id:
            raise ValueError(
                f"prompt {prompt_id}, pair {row}: one of prompt and answers is missing"
            )
        if reason := _drop_reason(sides[0].candidate, sides[1].candidate, longest):
            dropped[reason] += 1
        else:
            kept.append(make_pair(by_id[prompt_id], sides[0], sides[1]))
    return Pairing(tuple(kept), {reason: dropped[reason] for reason in DropReason})


def _drop_reason(chosen: Candidate, rejected: Candidate, longest: int | None) -> DropReason | None:
    answers = (chosen, rejected)
    if not all(item.text.strip() for item in answers):
        return DropReason.EMPTY
    sizes = (len(item.prompt_token_ids) + len(item.token_ids) for item in answers)
    if longest is not None and max(sizes) > longest:
        return DropReason.TOO_LONG
    # Texts that differ may still be the same to the model, once they are its tokens.
    same = chosen.text.split() == rejected.text.split() or chosen.token_ids == rejected.token_ids
    return DropReason.IDENTICAL if same else None
