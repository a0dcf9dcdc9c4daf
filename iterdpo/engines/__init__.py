"""What runs the model: vLLM, transformers, a script; and the canary.

An engine of your own derives from ``EngineFactory``, implements ``Engine``, and is named by
``engine._target_``.
"""

from iterdpo.engines.base import Engine, EngineFactory

__all__ = ["Engine", "EngineFactory"]
