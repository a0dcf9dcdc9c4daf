"""Where prompts come from."""

from __future__ import annotations

from iterdpo.config.schema import Config
from iterdpo.prompts.base import PromptSource
from iterdpo.prompts.file import FilePrompts
from iterdpo.prompts.lab import LabPrompts


def make_prompts(config: Config) -> PromptSource:
    """Return the configured source of prompts; a file is read and checked at once."""
    if config.prompts.source == "lab":
        return LabPrompts()
    assert config.prompts.path is not None
    return FilePrompts(config.prompts.path, config.prompts.field, config.prompts.held_out_share)
