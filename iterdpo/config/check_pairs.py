"""What a pairing's settings and the others allow one by one but not together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iterdpo.config.schema import Config


def pairs_problems(config: Config, source: Any, prompts: Any) -> Iterator[str]:
    """Yield what is wrong with a ``PairSource`` beside the other settings.

    Args:
        config: the typed configuration.
        source: the chosen one; None where that choice is wrong.
        prompts: the chosen ``PromptSource``, likewise.
    """
    if source is None:
        return
    k = getattr(source, "k", None)
    if k is None:
        return
    if prompts is not None and prompts.of_pairs:
        yield "prompts=pairs: there are none; choose pairs=dataset, or other prompts"
    if 2 * k > config.candidates.n:
        yield (
            f"pairs.k={k}: needs 2 answers a pair but candidates.n={config.candidates.n}; "
            "lower pairs.k or raise candidates.n"
        )
