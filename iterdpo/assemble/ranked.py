"""Ranked answers become two kinds of examples: of answering like the best, of judging alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from iterdpo.config.schema import Config
from iterdpo.config.sft import RankedConfig
from iterdpo.data.instructions import OASST_COLUMNS, RankedAnswers, read_oasst, read_ranked
from iterdpo.data.source import RowSource, read_source
from iterdpo.engines.base import Engine, Sampling
from iterdpo.errors import UserError
from iterdpo.judging.base import SftRubric
from iterdpo.judging.rubrics import Rubric
from iterdpo.prompts.base import folded, shuffled
from iterdpo.stages.judging_sft_data import WriteEftData
from iterdpo.store.hashing import derive_seed


@dataclass(frozen=True)
class Dealt:
    """Ranked questions in two sets that share none."""

    answered: tuple[RankedAnswers, ...]
    """Their best answers are learned."""
    judged: tuple[RankedAnswers, ...]
    """Their answers are judged, to learn from the verdicts."""


def read(ranked: RankedConfig) -> list[RankedAnswers]:
    """Return the questions of the source, each with at least one answer.

    Raises:
        UserError: it cannot be read.
    """
    source = RowSource(
        path=ranked.path,
        key="sft.ranked.path",
        subset=ranked.subset,
        split=ranked.split,
        revision=ranked.revision,
    )
    if ranked.form == "responses":
        return read_ranked(read_source(source, ("prompt", "responses")), key=source.said)
    rows = read_source(source, OASST_COLUMNS)
    return read_oasst(rows, key=source.said, language=ranked.language)


def deal(
    ranked: Sequence[RankedAnswers],
    *,
    instructions: int,
    held_out: Collection[str],
    seed: int,
    said: str = "",
) -> Dealt:
    """Deal out questions: so many to learn the answers of, the others to be judged.

    A question with one answer was ranked by nobody and is in neither set. One that comes twice, but
    for case, white space or Unicode form, counts once.

    Args:
        ranked: questions with their answers, best first.
        instructions: how many to learn the best answers of.
        held_out: folded texts (``prompts.base.folded``) of questions to leave out.
        seed: fixes which question goes where.
        said: the source's setting and its value, for messages.

    Raises:
        UserError: no question would be left to judge.
    """
    usable = {
        key: item
        for item in ranked
        if len(item.answers) > 1 and (key := folded(item.prompt)) not in held_out
    }
    if len(usable) <= instructions:
        raise UserError(
            f"sft.ranked.instructions={instructions}: {said} has {len(usable)} questions with two "
            "or more ranked answers that are not held out, so none would be left to judge; lower it"
        )
    order = [usable[key] for key in shuffled(usable, derive_seed(seed, "ranked"))]
    return Dealt(tuple(order[:instructions]), tuple(order[instructions:]))


def make_examples(
    config: Config,
    ranked: RankedConfig,
    asking: SftRubric,
    judged: tuple[RankedAnswers, ...],
    engine: Engine,
) -> WriteEftData:
    """Return the step that writes examples of judging, by the rubric and on the scale of the judge.

    Raises:
        UserError: the rubric cannot be read.
    """
    return WriteEftData(
        ranked=judged,
        engine=engine,
        rubric=Rubric.load(asking.rubric),
        sampling=Sampling(
            n=ranked.verdicts,
            temperature=ranked.temperature,
            top_p=ranked.top_p,
            max_tokens=ranked.max_tokens,
            seed=config.seed,
        ),
        low=asking.low,
        high=asking.high,
        system=asking.system,
        max_ratio=ranked.max_ratio,
    )
