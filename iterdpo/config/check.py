"""From composed values to a typed ``Config``, with everything that is wrong told together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from iterdpo.config.schema import Config
from iterdpo.engines.choice import GET_VLLM, vllm_installed
from iterdpo.errors import ConfigError


def load(values: Mapping[str, Any]) -> Config:
    """Convert composed values (plain containers) to a ``Config``.

    Raises:
        ConfigError: with one line for each problem: key, value, what is allowed.
    """
    try:
        config = TypeAdapter(Config).validate_json(json.dumps(values))
    except ValidationError as error:
        raise ConfigError([_line(item) for item in error.errors()]) from None
    if problems := list(_contradictions(config)):
        raise ConfigError(problems)
    return config


def _line(item: Any) -> str:
    # pydantic adds the tried member of a union to the location; a user knows only the key.
    parts = [str(part) for part in item["loc"] if not str(part).startswith(("tuple[", "str"))]
    key = ".".join(parts)
    if item["type"] == "missing":
        return f"{key}: is missing"
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: no such setting"
    said = item["msg"][0].lower() + item["msg"][1:]
    return f"{key}={_shown(item['input'])}: {said}"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _contradictions(config: Config) -> list[str]:
    """Return what each field allows but all of them together do not."""
    problems = []
    training, judge, pairs = config.training, config.judge, config.pairs
    if not training.loss:
        problems.append("training.loss=[]: name at least one loss")
    if len(training.loss) != len(training.loss_weights):
        problems.append(
            f"training.loss_weights={list(training.loss_weights)}: give one weight for each of "
            f"training.loss={list(training.loss)}"
        )
    if training.batch_size % training.micro_batch_size:
        problems.append(
            f"training.micro_batch_size={training.micro_batch_size}: must divide "
            f"training.batch_size={training.batch_size}"
        )
    if {"robust", "exo_pair"} & set(training.loss) and not training.label_smoothing:
        problems.append(
            f"training.label_smoothing=0: training.loss={list(training.loss)} needs a value "
            "above 0 and below 0.5"
        )
    if judge.low >= judge.high:
        problems.append(f"judge.low={judge.low}: must be below judge.high={judge.high}")
    if judge.score == "expected" and not 0 <= judge.low < judge.high <= 9:
        problems.append(
            f"judge.high={judge.high}: judge.score=expected reads one token, so scores must lie "
            "in 0..9; use judge.score=sampled for a wider range"
        )
    if judge.rubric in ("additive", "lab") and (judge.low, judge.high) != (0, 5):
        problems.append(
            f"judge.high={judge.high}: the rubric {judge.rubric} gives 0 to 5 points; set "
            "judge.low=0 judge.high=5 or bring your own rubric"
        )
    if pairs.strategy == "best_worst" and pairs.k != 1:
        problems.append(f"pairs.k={pairs.k}: pairs=best_worst makes 1; use pairs=top_bottom")
    if 2 * pairs.k > config.candidates.n:
        problems.append(
            f"pairs.k={pairs.k}: needs 2 answers a pair but candidates.n={config.candidates.n}; "
            "lower pairs.k or raise candidates.n"
        )
    if config.prompts.source == "file" and config.prompts.path is None:
        problems.append("prompts.path=null: prompts=file needs a file, prompts.path=FILE")
    problems += _engine_problems(config)
    problems += _missing_paths(config)
    return problems


def _engine_problems(config: Config) -> list[str]:
    engine = config.engine
    problems = []
    if engine.name == "vllm" and not vllm_installed():
        problems.append(f"engine.name=vllm: vLLM is not installed; it comes with {GET_VLLM}")
    if engine.name == "transformers" and engine.tensor_parallel > 1:
        problems.append(
            f"engine.tensor_parallel={engine.tensor_parallel}: engine=transformers uses 1; "
            "use engine=vllm"
        )
    return problems


def _missing_paths(config: Config) -> list[str]:
    problems = []
    model, prompts = Path(config.model.path).expanduser(), config.prompts.path
    looks_local = config.model.path.startswith((".", "/", "~")) or config.model.path.count("/") > 1
    if looks_local and not (model / "config.json").is_file():
        problems.append(
            f"model.path={config.model.path}: no checkpoint there (no config.json); give a "
            "checkpoint directory, a hub id such as org/name, or lab"
        )
    if prompts is not None and not prompts.is_file():
        problems.append(f"prompts.path={prompts}: no such file")
    return problems
