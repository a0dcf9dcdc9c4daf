"""From composed values to a typed ``Config``, with everything that is wrong told together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from iterdpo.config.check_pairs import pairs_problems
from iterdpo.config.choices import checked_choices
from iterdpo.config.evaluation import EvaluationConfig
from iterdpo.config.hub import hub_problems
from iterdpo.config.messages import line_of
from iterdpo.config.objects import with_objects
from iterdpo.config.prequantized import prequantized_problems
from iterdpo.config.schema import Config
from iterdpo.config.secrets import secret_problems
from iterdpo.config.training import TrainingConfig
from iterdpo.config.weights import weight_problems
from iterdpo.errors import ConfigError


def load(values: Mapping[str, Any], given: Mapping[str, object] | None = None) -> Config:
    """Convert composed values (plain containers) to a ``Config``.

    Args:
        values: what was composed.
        given: by section, objects that take the place of the classes named there.

    Raises:
        ConfigError: with one line for each problem: key, value, what is allowed.
    """
    if secrets := secret_problems(values, addresses=False):  # before anything could show a value
        raise ConfigError(secrets)
    given = given or {}
    values, made, problems = checked_choices(values, Config, given)
    try:
        config = TypeAdapter(Config).validate_json(json.dumps(values))
    except ValidationError as error:
        raise ConfigError([*(line_of(item) for item in error.errors()), *problems]) from None
    if problems := [*problems, *_contradictions(config, made)]:
        raise ConfigError(problems)
    return cast(Config, with_objects(config, given))


def _contradictions(config: Config, made: Mapping[str, Any]) -> list[str]:
    """Return what each field allows but all of them together do not.

    Args:
        config: the typed configuration.
        made: by section, the object that its choice names; none of a choice that is wrong.
    """
    problems = []
    training = config.training
    problems += _method_problems(training)
    problems += weight_problems(config, made.get("judge"))
    problems += prequantized_problems(config)
    problems += pairs_problems(config, made.get("pairs"), made.get("prompts"))
    problems += _evaluation_problems(config.evaluation, made.get("evaluation.oracle"))
    problems += _thinking_problems(config, made.get("pairs"))
    problems += hub_problems(config.hub)
    problems += _missing_paths(config)
    return problems


def _thinking_problems(config: Config, pairs: Any) -> list[str]:
    """Return what an engine's prompts would have that those of given answers have not."""
    model = config.model
    given = "sft" if config.sft.method != "none" else ""
    if pairs is not None and getattr(pairs, "k", None) is None:
        given = "pairs=dataset"
    if not given or (model.thinking == "auto" and not model.template_arguments):
        return []
    return [
        f"model.thinking={model.thinking} with "
        f"model.template_arguments={dict(model.template_arguments)}: {given} takes the chat "
        "template as it is; use model.thinking=auto and no arguments"
    ]


def _method_problems(training: TrainingConfig) -> list[str]:
    losses, weights = list(training.loss), list(training.loss_weights)
    if training.method == "orpo":
        problems = []
        if losses or weights or training.label_smoothing:
            problems.append(
                f"training.loss={losses}: training.method=orpo has a loss of its own; set "
                "training.loss=[] training.loss_weights=[] training.label_smoothing=0, or choose "
                "training=orpo"
            )
        if training.reference != "none":
            problems.append(
                f"training.reference={training.reference}: training.method=orpo measures against "
                "nothing; set training.reference=none, or choose training=orpo"
            )
        return problems
    problems = []
    if training.reference == "none":
        problems.append(
            "training.reference=none: training.method=dpo needs one: previous, initial or base"
        )
    if not losses:
        problems.append("training.loss=[]: name at least one loss")
    if len(losses) != len(weights):
        problems.append(
            f"training.loss_weights={weights}: give one weight for each of training.loss={losses}"
        )
    if {"robust", "exo_pair"} & set(losses) and not training.label_smoothing:
        problems.append(
            f"training.label_smoothing=0: training.loss={losses} needs a value above 0 and below "
            "0.5"
        )
    return problems


def _evaluation_problems(evaluation: EvaluationConfig, oracle: Any) -> list[str]:
    problems = []
    if evaluation.arbiter == "oracle" and evaluation.oracle is None:
        problems.append(
            "evaluation.arbiter=oracle: there is none (evaluation.oracle=null); choose initial, "
            "external or none"
        )
    if oracle is not None and not 0 < oracle.perfect < math.inf:
        problems.append(
            f"evaluation.oracle: {type(oracle).__name__} has perfect={oracle.perfect}; its highest "
            "score must be a number above 0"
        )
    if evaluation.arbiter == "external" and evaluation.arbiter_model is None:
        problems.append(
            "evaluation.arbiter_model=null: evaluation.arbiter=external needs a checkpoint "
            "directory or a hub id"
        )
    return problems


def _missing_paths(config: Config) -> list[str]:
    problems = []
    model = Path(config.model.path).expanduser()
    looks_local = config.model.path.startswith((".", "/", "~")) or config.model.path.count("/") > 1
    if looks_local and not (model / "config.json").is_file():
        problems.append(
            f"model.path={config.model.path}: no checkpoint there (no config.json); give a "
            "checkpoint directory, a hub id such as org/name, or lab"
        )
    return problems
