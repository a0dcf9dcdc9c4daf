"""What a pairing's settings and the others allow one by one but not together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iterdpo.config.schema import Config


def pairs_problems(config: Config, source: Any) -> Iterator[str]:
    """Yield what is wrong with ``source`` (a ``PairSource``) beside the other settings."""
    if source is None:
        return
    k = getattr(source, "k", None)
    if k is None:
        return
    if config.prompts.source == "pairs":
        yield "prompts.source=pairs: there are none; choose pairs=dataset, or other prompts"
    if 2 * k > config.candidates.n:
        yield (
            f"pairs.k={k}: needs 2 answers a pair but candidates.n={config.candidates.n}; "
            "lower pairs.k or raise candidates.n"
        )
