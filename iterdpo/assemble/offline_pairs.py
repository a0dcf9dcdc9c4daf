"""Preference pairs that somebody gave: read once, and dealt to the steps that stand for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from iterdpo.assemble.checkpoint import resolve_checkpoint
from iterdpo.config.schema import Config
from iterdpo.data.converting import require_fields
from iterdpo.data.preferences import OfflinePair, OfflinePairs, PairFields, read_pairs
from iterdpo.data.rows import Row
from iterdpo.data.source import RowSource, read_source
from iterdpo.errors import UserError
from iterdpo.models.loading import declared_context
from iterdpo.pairing.offline import PairsDataset
from iterdpo.prompts.base import PromptSource
from iterdpo.prompts.pairs import PairsPrompts, Rows
from iterdpo.recipe import Recipe
from iterdpo.stages.offline_pairs import (
    ReadOfflineCandidates,
    ReadOfflineScores,
    SelectOfflinePrompts,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OfflineRows:
    """The rows of the configured dataset, each split read once, when it is first asked for."""

    given: PairsDataset
    min_margin: float

    @property
    def source(self) -> RowSource:
        given = self.given
        return RowSource(
            path=given.path,
            key="pairs.dataset.path",
            subset=given.subset,
            split=given.split,
            revision=given.revision,
            files=given.files,
        )

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def kept(self) -> Sequence[OfflinePair]:
        return self._read.kept

    @cached_property
    def held_out(self) -> Sequence[OfflinePair] | None:
        """The rows of ``evaluation_split``; None without one."""
        if self.given.evaluation_split is None:
            return None
        split = replace(self.source, split=self.given.evaluation_split)
        return _read(split, self.given, 0.0).kept

    @property
    def left_out(self) -> Mapping[str, int]:
        """Rows that are no pair, by reason; only reasons that there are."""
        return {reason.value: count for reason, count in self._read.dropped.items() if count}

    @cached_property
    def _read(self) -> OfflinePairs:
        return _read(self.source, self.given, self.min_margin)


def with_offline_pairs(
    recipe: Recipe, config: Config, rows: OfflineRows, prompts: PromptSource
) -> Recipe:
    """Return the recipe with steps that read the pairs of ``rows`` in place of making some.

    Whoever evaluates stays: the recipe's judge measures the models, though it makes no pairs.

    Args:
        recipe: of a run that would make its own pairs.
        config: the typed configuration.
        rows: the pairs.
        prompts: the configured source: the pairs' own prompts, or others that are held out.

    Raises:
        UserError: the dataset cannot be read, or nothing in it can be used.
    """
    own = prompts if isinstance(prompts, PairsPrompts) else None
    own = own or PairsPrompts(held_out_share=0.5, pairs=Rows(rows.name, rows.kept, held_out=()))
    reasons = {**rows.left_out, "held_out": own.held_out_pairs}
    said = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    log.info(
        "%s: %s pairs of %s prompts%s", rows.source.said,
        f"{len(rows.kept) - own.held_out_pairs:,}", f"{len(own.asked):,}",
        f" (left out: {said})" if said else "",
    )  # fmt: skip
    return replace(
        recipe,
        select=SelectOfflinePrompts(own, rows.given.per_iteration, config.seed, rows.left_out),
        generate=ReadOfflineCandidates(own, config.prompts.system, config.model.trust_remote_code),
        judge=ReadOfflineScores(own),
        # The given scores have a scale of their own, which nothing names.
        check=replace(recipe.check, scale=None),
    )


def longest_read(config: Config) -> int | None:
    """Return the most tokens of a row that training reads; None where nothing limits them."""
    context = declared_context(str(resolve_checkpoint(config.model)))
    limits = (config.training.max_length, config.model.context, context)
    return min((limit for limit in limits if limit is not None), default=None)


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
