"""Supervised fine-tuning before the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.training import OptimizerConfig
from iterdpo.config.types import Count, NonNegative, Source, checked
from iterdpo.settings import CountsElsewhere


@checked
@dataclass(frozen=True, kw_only=True)
class RankedConfig:
    """Answers that people have ranked (Self-Rewarding LMs, arXiv 2401.10020, section 3.1).

    The best ones are examples of answering, and the model that learned these writes examples of
    judging. What ``prompts`` holds out for evaluation is left out of both.
    """

    path: Source
    """A file, a directory or a hub id."""
    form: Literal["oasst", "responses"]
    """``oasst``: messages as in ``OpenAssistant/oasst1``, of which first questions and their
    answers are read. ``responses``: rows of ``prompt`` and ``responses``, best first."""
    subset: str | None
    """The dataset's configuration, where it has several."""
    split: str
    revision: str | None
    """Branch, tag or commit on the hub; null for the default branch."""
    language: str | None
    """Of ``oasst``: the questions' language; null for any."""
    instructions: Count
    """Of how many questions the best answer is learned. The answers to the others are judged."""
    verdicts: Count
    """Times that each answer is judged. The first set of verdicts on a question's answers that
    keeps to the people's order is learned."""
    temperature: NonNegative
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: Count
    """Longest verdict."""
    max_ratio: Annotated[float, Field(ge=1)]
    """How many times as often as the next score the most common one may be learned."""


@checked
@dataclass(frozen=True, kw_only=True)
class SftConfig(OptimizerConfig):
    """How M0 is made from the base (TRL's SFTTrainer), if it is not the base itself."""

    method: Annotated[
        Literal["none", "qlora", "merged", "full"],
        CountsElsewhere("what is made of the policy afterwards"),
    ]
    """``none``: M0 is the base. ``qlora``: M0 is an adapter on the quantized base, and the loop's
    adapters start from it. ``merged``: that adapter is merged into the base's unquantized weights,
    and the loop begins on the new checkpoint. ``full``: every weight is trained."""
    path: Annotated[tuple[Source, ...], CountsElsewhere("counts by the files' content")]
    """Examples of instructions and of judgments: files (JSONL, JSON, CSV, Parquet), directories or
    hub ids. A row is a chat in ``messages``, whose last answer is learned, or a ``prompt`` (or
    ``instruction``) with its ``response`` (or ``output``)."""
    ranked: Annotated[RankedConfig | None, CountsElsewhere("counts by what is learned of it")]
    """More examples, of instructions and of judgments, out of ranked answers. The judgments follow
    the rubric and the scale of ``judge``."""
