"""Prompts of a dataset: on the hub, in a directory or in a file."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from iterdpo.data.converting import convert, require_fields
from iterdpo.data.rows import Row
from iterdpo.data.source import RowSource, read_source
from iterdpo.errors import UserError
from iterdpo.prompts.base import texts_sha256
from iterdpo.prompts.mapping import PromptMapping, SkipReason
from iterdpo.prompts.text_pool import TextPool, require_share

log = logging.getLogger(__name__)


class DatasetPrompts(TextPool):
    """Prompts that a mapping takes from a dataset's rows. Equal texts are kept once."""

    def __init__(
        self, source: RowSource, mapping: PromptMapping, held_out_share: float = 0.1
    ) -> None:
        """Read the dataset.

        Args:
            source: Which rows.
            mapping: How a row becomes a prompt.
            held_out_share: As for ``TextPool``.

        Raises:
            UserError: when it cannot be read, the mapping does not fit it (all rows that do not
                are counted and the first few are named), or no prompt is left.
        """
        require_share(held_out_share)
        rows = read_source(source, mapping.columns)
        for key, names in _naming_settings(mapping):
            require_fields(rows, names, key, source.path)

        def place_and_text(row: Row) -> tuple[str, str | SkipReason]:
            return row.where, mapping.prompt(row.fields)

        sources: dict[str, str] = {}
        self.skipped: Counter[str] = Counter()
        """Rows that gave no new prompt, by reason."""
        empty: list[str] = []
        for where, text in convert(rows, place_and_text, source.said):
            if isinstance(text, SkipReason):
                self.skipped[text.value] += 1
                empty += [where] if text is SkipReason.EMPTY else []
            elif text in sources:
                self.skipped["duplicate"] += 1
            else:
                sources[text] = f"{source.name}, {where}"
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in self.skipped.most_common())
        if not sources:
            raise UserError(
                f"{source.said}: none of {len(rows):,} rows is a prompt ({left_out}): loosen "
                "prompts.dataset.where or prompts.dataset.max_chars"
            )
        log.info(
            "%s: %s prompts of %s rows%s", source.said, f"{len(sources):,}", f"{len(rows):,}",
            f" (left out: {left_out})" if left_out else "",
        )  # fmt: skip
        if empty:
            log.warning(
                "%s: left out for an empty %s: %d of %d rows, the first is %s",
                source.said, mapping.field, len(empty), len(rows), empty[0],
            )  # fmt: skip
        super().__init__(sources, source.name, held_out_share)

    @property
    def identity(self) -> Mapping[str, object]:
        """The prompts themselves and where each came from: another way to the same ones, such as
        a local copy, changes a key only where it changes what records say.
        """
        return {
            "source": "dataset",
            "name": self.name,
            "sha256": texts_sha256(part for item in self.sources.items() for part in item),
            "held_out_share": self.held_out_share,
        }


def _naming_settings(mapping: PromptMapping) -> list[tuple[str, tuple[str, ...]]]:
    return [
        ("prompts.field", (mapping.field,)),
        ("prompts.dataset.join", mapping.join),
        ("prompts.dataset.where", tuple(mapping.where)),
    ]
