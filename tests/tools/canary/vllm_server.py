"""vLLM's own server of OpenAI's API, less what it offers to Prometheus and to SageMaker.

    python tests/tools/canary/vllm_server.py --model DIR --enable-lora ...

Those two need packages that nothing here uses, and that are not installed. Everything that a
completion passes through is vLLM's.
"""

from __future__ import annotations

import runpy
import sys
from types import ModuleType
from typing import Any


def _absent(name: str, **members: Any) -> None:
    module = ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def _nothing(*_: Any) -> None:
    """Attach no route."""


if __name__ == "__main__":
    _absent("vllm.entrypoints.serve.instrumentator.metrics", attach_router=_nothing)
    _absent(
        "vllm.entrypoints.serve.sagemaker.api_router",
        attach_router=_nothing,
        sagemaker_standards_bootstrap=lambda app: app,
    )
    runpy.run_module("vllm.entrypoints.launchers.api_server.entry", run_name="__main__")
