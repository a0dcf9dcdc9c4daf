"""Where instructions come from, and who may see which.

A source of your own derives from ``PromptPool`` and is named by ``prompts._target_``.
"""

from iterdpo.prompts.pool import PromptPool

__all__ = ["PromptPool"]
