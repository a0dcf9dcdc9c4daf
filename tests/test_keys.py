"""Each setting changes a key, or is on the list of those that change nothing."""

from __future__ import annotations

import copy

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from iterdpo import plan
from iterdpo.command import conf_directory
from iterdpo.config.check import load
from iterdpo.config.inert import ALWAYS, OTHERS_CHOICE

# Values that the settings' types or each other do not suggest.
ANOTHER = {
    "iterations": 3,
    "model.path": None,  # another checkpoint: see tests of its hash
    "model.quantization": "none",
    "model.dtype": "bfloat16",
    "model.attention": "sdpa",
    "model.adapter.target_modules": ["q_proj"],
    "model.revision": "main",
    "prompts.source": None,  # needs a file
    "prompts.path": None,
    "engine.name": "vllm",
    "engine.device": None,  # what there is decides
    "engine.serve": "original",
    "engine.residency": "restart",
    "engine.threads": None,  # sets the threads of this very process
    "engine.memory_share": 0.5,
    "engine.eager": True,
    "judge.model": "initial",
    "judge.rubric": "additive",
    "judge.score": "sampled",
    "judge.low": None,  # bound to the rubric
    "judge.high": None,
    "pairs.strategy": None,  # with pairs.k
    "pairs.on_empty": "skip",
    "training.loss": ["ipo", "sft"],
    "training.loss_weights": [1.0, 0.5],
    "training.reference": "initial",
    "training.schedule": "constant",
    "training.batch_size": 64,
    "training.micro_batch_size": 16,
    "training.optimizer": "sgd",
    "training.process": "spawn",
    "training.max_length": 128,
    "model.context": 128,
    "prompts.system": "Be brief.",
    "judge.system": "Be fair.",
    "evaluation.oracle": "none",
    "tracking.name": "none",
    "tracking.mode": "offline",
    "tracking.entity": "team",
    "tracking.group": "study",
    "tracking.tags": ["a"],
    "store.root": "elsewhere",
    "engine.max_gap": None,
}
SKIPPED = {key for key, value in ANOTHER.items() if value is None and key != "engine.max_gap"}


def shipped() -> dict:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        values = OmegaConf.to_container(compose("config", ["iterations=2"]), resolve=True)
    values.pop("experiment", None)
    values["tracking"]["name"] = "wandb"
    return values


def leaves(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


SHIPPED = dict(leaves(shipped()))


def keys(values, root) -> set[str]:
    values["store"]["root"] = str(root / values["store"]["root"])
    config = load(values)
    return {step.key for _, steps in plan.plan(config) for step in steps}


def another(key):
    value = SHIPPED[key]
    if key in ANOTHER:
        return ANOTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 if value else 0.25
    return value + 1 if isinstance(value, int) else f"{value}-changed"


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return keys(shipped(), tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("key", sorted(set(SHIPPED) - SKIPPED))
def test_a_setting_changes_a_key_or_is_listed(key, usual, tmp_path, monkeypatch):
    monkeypatch.setattr("iterdpo.config.check.vllm_installed", lambda: True)
    values = copy.deepcopy(shipped())
    *path, name = key.split(".")
    section = values
    for part in path:
        section = section[part]
    section[name] = another(key)
    changed = keys(values, tmp_path) != usual
    inert = key in ALWAYS or key in OTHERS_CHOICE
    if key in ("judge.model", "training.reference"):
        assert changed  # from M2 on
    else:
        assert changed != inert, f"{key}={section[name]}"


def test_every_listed_setting_is_there():
    assert set(ALWAYS) | set(OTHERS_CHOICE) <= set(SHIPPED)
    assert not set(ALWAYS) & set(OTHERS_CHOICE)
