"""Where prompts come from."""

from __future__ import annotations

from iterdpo.config.choices import build
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.prompts.base import PromptSource
from iterdpo.prompts.pairs import PairRows
from iterdpo.prompts.self_instruct import SelfInstructPrompts
from iterdpo.settings import identity
from iterdpo.stages.generate import SelectPrompts
from iterdpo.stages.self_instruct import SelfInstruct


def make_prompts(config: Config, pairs: PairRows | None = None) -> PromptSource:
    """Return the configured source of prompts; what its settings name is read and checked at once.

    Args:
        config: the typed configuration.
        pairs: the rows of ``pairs=dataset``, for the source that takes their prompts.

    Raises:
        UserError: it cannot be read, or holds no prompt.
    """
    provided = {} if pairs is None else {"pairs": pairs}
    source: PromptSource = build("prompts", config.prompts.choice, **provided)
    identity(source)  # reads it
    return source


def make_select(
    config: Config, engine: Engine, prompts: PromptSource
) -> SelectPrompts | SelfInstruct:
    """Return the step that gets an iteration its prompts: chosen from given ones, or written."""
    count, seed = config.prompts.per_iteration, config.seed
    if isinstance(prompts, SelfInstructPrompts):
        return SelfInstruct(prompts, count, seed, engine)
    return SelectPrompts(prompts, "loop", count, seed)
