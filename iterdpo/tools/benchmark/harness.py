"""Models of a run in EleutherAI's lm-evaluation-harness: the arguments, the call, the table.

The harness loads the image that the run's own engine serves, with the adapter beside it through
PEFT, so that what is measured are the very weights that were trained.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterdpo.errors import UserError
from iterdpo.models.prequantized import PREQUANTIZED
from iterdpo.records import Policy

GET_IT = "pip install 'iterdpo[benchmarks]'"


@dataclass(frozen=True, kw_only=True)
class HarnessSettings:
    """What the harness is told besides the model."""

    tasks: tuple[str, ...]
    dtype: str
    device: str
    batch_size: int | str = "auto"
    num_fewshot: int | None = None
    """None leaves it to each task."""
    limit: float | None = None
    """Examples a task (or their share below 1), for a try; None for all."""
    apply_chat_template: bool = False
    seed: int = 0
    include_path: Path | None = None
    """Directory with tasks of the user's own."""
    trust_remote_code: bool = False
    serve: str = "dequantized"
    """``dequantized``: the weights that training sees; ``original``: those of the checkpoint."""


def model_arguments(policy: Policy, settings: HarnessSettings) -> dict[str, Any]:
    """Return ``model_args`` of the harness's ``hf`` backend for a policy.

    Raises:
        UserError: its base is packed; the harness loads models by itself.
    """
    base = policy.base
    if base.quantization in PREQUANTIZED:
        raise UserError(
            f"model.quantization={base.quantization}: the harness loads models by itself, and "
            "cannot unpack this base; write the model out by python -m iterdpo.export --on "
            "dequantized, and run lm-eval on that"
        )
    arguments: dict[str, Any] = {
        "pretrained": base.dequantized if settings.serve == "dequantized" else base.path,
        "tokenizer": base.path,  # an image holds weights only
        "dtype": settings.dtype,
        "trust_remote_code": settings.trust_remote_code,
    }
    if policy.adapter is not None:
        arguments["peft"] = policy.adapter.path
    return arguments


def call_arguments(policy: Policy, settings: HarnessSettings) -> dict[str, Any]:
    """Return everything that ``lm_eval.simple_evaluate`` is called with, but the task manager."""
    seed = settings.seed
    return {
        "model": "hf",
        "model_args": model_arguments(policy, settings),
        "tasks": list(settings.tasks),
        "num_fewshot": settings.num_fewshot,
        "batch_size": settings.batch_size,
        "device": settings.device,
        "limit": settings.limit,
        "apply_chat_template": settings.apply_chat_template,
        "log_samples": False,
        "random_seed": seed,
        "numpy_random_seed": seed,
        "torch_random_seed": seed,
        "fewshot_random_seed": seed,
    }


def require_harness() -> None:
    """Raise ``UserError`` where the harness is not installed, before any model is loaded."""
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(f"lm-evaluation-harness is not installed; {GET_IT}")


def evaluate(policy: Policy, settings: HarnessSettings) -> dict[str, Any]:
    """Run the harness on one policy and return its results as plain values.

    Raises:
        UserError: it is not installed, or does not know a task.
    """
    require_harness()
    import lm_eval
    from lm_eval.tasks import TaskManager

    include = str(settings.include_path) if settings.include_path else None
    manager = TaskManager(include_path=include)
    if unknown := [task for task in settings.tasks if not manager.match_tasks([task])]:
        raise UserError(
            f"--tasks {unknown[0]}: lm-evaluation-harness {lm_eval.__version__} has no such task; "
            "`lm-eval ls tasks` lists them, --include-path DIR adds your own"
        )
    with redirect_stdout(sys.stderr):  # the harness prints on its way; stdout is for the table
        found = lm_eval.simple_evaluate(**call_arguments(policy, settings), task_manager=manager)
    assert found is not None  # only ranks above 0 of a distributed run return nothing
    return {
        "results": found["results"],
        "n": found["n-samples"],
        "versions": {**found["versions"], "lm_eval": lm_eval.__version__},
    }


def metrics_of(results: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, float | None]]:
    """Return by ``task metric`` its value and standard error, from the harness's ``results``.

    A metric is named ``<metric>,<filter>`` there, and its error ``<metric>_stderr,<filter>``; the
    filter is left out where it is ``none``. What is no number is left out.
    """
    found: dict[str, tuple[float, float | None]] = {}
    for task, values in results.items():
        for name, value in values.items():
            metric, _, only = name.partition(",")
            if metric.endswith("_stderr") or not only or not _number(value):
                continue
            error: Any = values.get(f"{metric}_stderr,{only}")
            shown = metric if only == "none" else f"{metric} ({only})"
            found[f"{task} {shown}"] = (float(value), float(error) if _number(error) else None)
    return found


def table_rows(
    metrics: Mapping[str, Mapping[str, tuple[float, float | None]]],
) -> tuple[list[str], list[list[str]]]:
    """Return a header and a row a model, ``value ± standard error``, from metrics by model."""
    columns = list(dict.fromkeys(name for own in metrics.values() for name in own))
    rows = [
        [model, *(_cell(own.get(column)) for column in columns)] for model, own in metrics.items()
    ]
    return ["model", *columns], rows


def _cell(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return "–"
    mean, error = value
    return _digits(mean) if error is None else f"{_digits(mean)} ± {_digits(error)}"


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1_000 else f"{value:.4g}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def tasks_of(words: Sequence[str]) -> tuple[str, ...]:
    """Return task names from words that may hold several, separated by commas."""
    return tuple(dict.fromkeys(name for word in words for name in word.split(",") if name))
