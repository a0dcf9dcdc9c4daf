"""Preference pairs that somebody gave: read once, and dealt to the steps that stand for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from iterdpo.config.schema import Config
from iterdpo.data.converting import require_fields
from iterdpo.data.preferences import OfflinePairs, PairFields, read_pairs
from iterdpo.data.rows import Row
from iterdpo.data.source import RowSource, read_source
from iterdpo.errors import UserError
from iterdpo.models.loading import declared_context
from iterdpo.pairing.offline import OfflineDataset, PairsDataset
from iterdpo.prompts.pairs import PairPrompts
from iterdpo.recipe import Recipe
from iterdpo.stages.offline_pairs import (
    KeepOfflinePairs,
    ReadOfflineCandidates,
    ReadOfflineScores,
    SelectOfflinePrompts,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OfflineSource:
    """What was read of the configured dataset."""

    prompts: PairPrompts
    left_out: Mapping[str, int]
    """Rows that are no pair, by reason; only reasons that there were."""
    per_iteration: int | None
    """Prompts an iteration; None for all."""


def read_offline_pairs(config: Config, offline: OfflineDataset) -> OfflineSource:
    """Read the configured pairs.

    Raises:
        UserError: the dataset cannot be read, or nothing in it can be used.
    """
    given = offline.dataset
    source = RowSource(
        path=given.path,
        key="pairs.dataset.path",
        subset=given.subset,
        split=given.split,
        revision=given.revision,
        files=given.files,
    )
    read = _read(source, given, config.pairs.min_margin)
    left_out = {reason.value: count for reason, count in read.dropped.items() if count}
    from_pairs = config.prompts.source == "pairs"
    held_out = None
    if from_pairs and given.evaluation_split is not None:
        held_out = _read(replace(source, split=given.evaluation_split), given, 0.0).kept
    prompts = PairPrompts(
        read.kept,
        source.name,
        held_out_share=config.prompts.held_out_share,
        held_out=held_out,
        evaluates=from_pairs,
    )
    reasons = left_out | ({"held_out": prompts.held_out_pairs} if prompts.held_out_pairs else {})
    said = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    log.info(
        "%s: %s pairs of %s prompts%s", source.said,
        f"{len(read.kept) - prompts.held_out_pairs:,}", f"{len(prompts.asked):,}",
        f" (left out: {said})" if said else "",
    )  # fmt: skip
    return OfflineSource(prompts, left_out, given.per_iteration)


def with_offline_pairs(recipe: Recipe, config: Config, source: OfflineSource) -> Recipe:
    """Return the recipe with steps that read the pairs of ``source`` in place of making some.

    Whoever evaluates stays: the recipe's judge measures the models, though it makes no pairs.
    """
    prompts = source.prompts
    context = declared_context(str(recipe.base.checkpoint))
    limits = (config.training.max_length, config.model.context, context)
    longest = min((limit for limit in limits if limit is not None), default=None)
    return replace(
        recipe,
        select=SelectOfflinePrompts(prompts, source.per_iteration, config.seed, source.left_out),
        generate=ReadOfflineCandidates(
            prompts, config.prompts.system, config.model.trust_remote_code
        ),
        judge=ReadOfflineScores(prompts),
        build_pairs=KeepOfflinePairs(longest),
        # The given scores have a scale of their own, which nothing names.
        check=replace(recipe.check, scale=None),
    )


def _read(source: RowSource, given: PairsDataset, min_margin: float) -> OfflinePairs:
    fields = PairFields(
        chosen=given.chosen,
        rejected=given.rejected,
        prompt=given.prompt,
        system=given.system,
        chosen_score=given.chosen_score,
        rejected_score=given.rejected_score,
    )
    rows = read_source(source, fields.columns)[: given.max_rows]
    if not any(fields.chosen in row.fields for row in rows):
        _require_paired(rows, source.said)
    for name in ("chosen", "rejected"):
        key, column = f"pairs.dataset.{name}", getattr(fields, name)
        require_fields(rows, [column], key, source.path, f"the {name} answer")
    read = read_pairs(rows, fields, key=source.said, min_margin=min_margin)
    if not read.kept:
        reasons = ", ".join(
            f"{count:,} {reason}" for reason, count in read.dropped.items() if count
        )
        raise UserError(
            f"{source.said}: none of {len(rows):,} rows is a usable pair ({reasons}): name the "
            "fields with pairs.dataset.chosen, rejected and prompt, or lower pairs.min_margin"
        )
    return read


def _require_paired(rows: Sequence[Row], said: str) -> None:
    """Raise ``UserError`` for rows in TRL's unpaired form, which no other name makes pairs of."""
    if any({"completion", "label"} <= row.fields.keys() for row in rows):
        raise UserError(
            f"{said}: its rows are single answers with a label (unpaired preferences), and DPO, "
            "IPO and ORPO learn from pairs: give rows with a chosen and a rejected answer to the "
            "same prompt"
        )
