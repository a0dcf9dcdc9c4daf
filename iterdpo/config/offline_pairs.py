"""Preference pairs that somebody gave, in place of those that the loop makes itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iterdpo.config.types import Count, checked

if TYPE_CHECKING:
    pass


@checked
@dataclass(frozen=True, kw_only=True)
class OfflinePairsConfig:
    """Which rows of a dataset are preference pairs, and what their fields are called.

    A prompt is a text or a list of messages and may be left to the conversations in ``chosen`` and
    ``rejected``: the formats of TRL, UltraFeedback-binarized and HH-RLHF are read.
    """

    path: str
    """A file (JSONL, JSON, CSV or Parquet), a directory or a hub id."""
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
