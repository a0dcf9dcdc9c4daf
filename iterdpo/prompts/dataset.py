"""Prompts of datasets: on the hub, in a directory or in a file."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, ClassVar

from iterdpo.config.types import Source
from iterdpo.data.converting import convert, require_fields
from iterdpo.data.rows import Row
from iterdpo.data.source import RowSource, read_source
from iterdpo.data.turns import INPUT
from iterdpo.errors import UserError
from iterdpo.prompts.conversations import NOTHING_BESIDE, Beside, prompt_of
from iterdpo.prompts.mapping import PromptMapping, SkipReason
from iterdpo.prompts.pool import BY_CONTENT, HeldOutShare, PromptPool
from iterdpo.records import Prompt
from iterdpo.settings import CountsElsewhere

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DatasetPrompts(PromptPool):
    """Prompts that a mapping takes from a dataset's rows. Equal texts are kept once."""

    name: ClassVar[str] = "dataset"
    version: ClassVar[int] = 1

    path: Annotated[Source, CountsElsewhere(BY_CONTENT)]
    """A file, a directory or a hub id."""
    field: Annotated[str, CountsElsewhere(BY_CONTENT)]
    """What holds the prompt, or the conversation that it opens."""
    reference: Annotated[str | None, CountsElsewhere(BY_CONTENT)]
    """What holds a right answer, for verifiers and judges that compare with one."""
    rubric: Annotated[str | None, CountsElsewhere(BY_CONTENT)]
    """What holds the criteria by which the answers to this very prompt are judged."""
    metadata: Annotated[tuple[str, ...], CountsElsewhere(BY_CONTENT)]
    """Further ones to keep with the prompt, for judges and verifiers of one's own."""
    held_out_share: HeldOutShare
    """Share of the prompts that is kept for evaluation and never trained on."""
    dataset: Annotated[PromptMapping, CountsElsewhere(BY_CONTENT)]
    """How rows become prompts."""

    @property
    def label(self) -> str:
        return RowSource(path=self.path, key="prompts.path").name

    def prompts(self) -> list[Prompt]:
        """Return every prompt, each once.

        Raises:
            UserError: when the dataset cannot be read, the mapping does not fit it (all rows that
                do not are counted and the first few are named), or no prompt is left.
        """
        beside = Beside(self.reference, self.rubric, self.metadata)
        return read_dataset(self.path, self.field, self.dataset, beside)


def read_dataset(
    path: str, field: str, mapping: PromptMapping, beside: Beside = NOTHING_BESIDE
) -> list[Prompt]:
    """Return the prompts of a dataset, each once, and say what was left out.

    Args:
        path: a file, a directory or a hub id.
        field: what holds the prompt.
        mapping: which rows count, and how they become prompts.
        beside: what holds whatever is known of a prompt beside its text.

    Raises:
        UserError: it cannot be read, does not fit the mapping, or holds no prompt.
    """
    source = RowSource(
        path=path,
        key="prompts.path",
        subset=mapping.subset,
        split=mapping.split,
        revision=mapping.revision,
        files=mapping.files,
    )
    named = {
        "prompts.field": (field,),
        "prompts.dataset.join": mapping.join,
        "prompts.dataset.where": tuple(mapping.where),
    }
    columns = [name for names in named.values() for name in names]
    rows = read_source(source, list(dict.fromkeys([*columns, *beside.columns, INPUT])))
    for key, names in named.items():
        require_fields(rows, names, key, path)
    beside.require(rows, path)

    def place_and_prompt(row: Row) -> tuple[str, Prompt | SkipReason]:
        asked = mapping.conversation(row.fields, field)
        if isinstance(asked, SkipReason):
            return row.where, asked
        place = f"{source.name}, {row.where}"
        return row.where, prompt_of(asked, place, **beside.of(row.fields))

    found: dict[str, Prompt] = {}
    skipped: Counter[str] = Counter()
    empty: list[str] = []
    for where, prompt in convert(rows, place_and_prompt, source.said):
        if isinstance(prompt, SkipReason):
            skipped[prompt.value] += 1
            empty += [where] if prompt is SkipReason.EMPTY else []
        elif prompt.id in found:
            skipped["duplicate"] += 1
        else:
            found[prompt.id] = prompt
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    if not found:
        raise UserError(
            f"{source.said}: none of {len(rows):,} rows is a prompt ({left_out}): loosen "
            "prompts.dataset.where or prompts.dataset.max_chars"
        )
    log.info(
        "%s: %s prompts of %s rows%s", source.said, f"{len(found):,}", f"{len(rows):,}",
        f" (left out: {left_out})" if left_out else "",
    )  # fmt: skip
    if empty:
        log.warning(
            "%s: left out for an empty %s: %d of %d rows, the first is %s",
            source.said, field, len(empty), len(rows), empty[0],
        )  # fmt: skip
    return list(found.values())
