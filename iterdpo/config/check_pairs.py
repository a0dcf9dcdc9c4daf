"""What is wrong with offline preference pairs beside the other settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iterdpo.config.schema import Config


def offline_pairs_problems(config: Config) -> list[str]:
    """Return what is wrong with given pairs beside the other settings, a line each."""
    return list(_problems(config))


def _problems(config: Config) -> Iterator[str]:
    pairs, given = config.pairs, config.pairs.dataset
    if pairs.strategy != "given":
        if given is not None:
            yield (
                f"pairs.dataset: pairs.strategy={pairs.strategy} does not read it; set it to "
                "null, or choose pairs=dataset"
            )
        if config.prompts.source == "pairs":
            yield "prompts.source=pairs: there are none; choose pairs=dataset, or other prompts"
        return
    if given is None:
        yield "pairs.dataset=null: pairs.strategy=given needs it; choose pairs=dataset"
        return
    if pairs.k != 1:
        yield f"pairs.k={pairs.k}: given pairs are taken as they are; set pairs.k=1"
    if given.evaluation_split is None:
        return
    key = f"pairs.dataset.evaluation_split={given.evaluation_split}"
    if given.files or Path(given.path).expanduser().is_file():
        yield f"{key}: a file has no splits; set it to null, and a share of the prompts is held out"
    elif given.evaluation_split == given.split:
        yield f"{key}: is the split that is trained on; name another, or set it to null"
