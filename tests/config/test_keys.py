"""Each setting changes a key, or is on the list of those that change nothing."""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from iterdpo.cli import plan
from iterdpo.config.check import load
from iterdpo.config.compose import conf_directory
from iterdpo.config.keyless import is_keyless
from iterdpo.settings import settings_of

OTHERS_CHOICE = {
    "judge.samples": "read with judge.score=sampled",
    "judge.temperature": "read with judge.score=sampled",
    "judge.top_p": "read with judge.score=sampled",
    "judge.max_tokens": "read with judge.score=sampled",
    "judge.min_readable": "read with judge.score=sampled",
    "evaluation.arbiter_model": "read with evaluation.arbiter=external",
    "evaluation.arbiter_rubric": "read with evaluation.arbiter=initial and external",
    "evaluation.arbiter_min_mass": "read with evaluation.arbiter=initial and external",
    "sft.learning_rate": "read with sft=qlora, merged and full",
    "sft.schedule": "read with sft=qlora, merged and full",
    "sft.warmup": "read with sft=qlora, merged and full",
    "sft.epochs": "read with sft=qlora, merged and full",
    "sft.batch_size": "read with sft=qlora, merged and full",
    "sft.micro_batch_size": "read with sft=qlora, merged and full",
    "sft.max_grad_norm": "read with sft=qlora, merged and full",
    "sft.weight_decay": "read with sft=qlora, merged and full",
    "sft.optimizer": "read with sft=qlora, merged and full",
    "sft.gradient_checkpointing": "read with sft=qlora, merged and full",
    "sft.max_length": "read with sft=qlora, merged and full",
}
"""Settings that the shipped recipe does not read, or that count by something else."""

COUNTS_OTHERWISE = (
    "judge.model", "judge.rubric", "judge.chat_template", "training.reference",
    "judge.verifier.form", "judge.verifier.tolerance",
)  # fmt: skip
"""Settings that are in no key themselves, because what they name is."""

# Values that the settings' types or each other do not suggest.
ANOTHER = {
    "iterations": 3,
    "model.path": None,  # another checkpoint: see tests of its hash
    "model.quantization": "none",
    "model.dtype": "bfloat16",
    "model.attention": "sdpa",
    "model.thinking": "off",
    "model.thought_marks": None,  # by the engine's identity: see tests/models/test_thinking.py
    "model.adapter.target_modules": ["q_proj"],
    "model.revision": "main",
    "prompts._target_": None,  # with its settings: see tests/prompts
    "engine._target_": None,
    "engine.backend": "vllm",
    "engine.device": None,  # what there is decides
    "engine.serve": "original",
    "engine.residency": "restart",
    "engine.threads": None,  # sets the threads of this very process
    "engine.vllm.max_sequences": 64,
    "engine.vllm.memory_share": 0.5,
    "engine.vllm.eager": True,
    "judge.model": "initial",
    "judge.rubric": "additive",
    "judge.score": "sampled",
    "judge.low": None,  # bound to the rubric
    "judge.high": None,
    "judge._target_": None,  # with its settings: see the test of every judge
    "pairs._target_": None,  # with its settings: see the test of every class
    "pairs.on_empty": "skip",
    "sft.method": None,  # with sft.path: see tests/steps
    "sft.ranked": None,  # a section of its own: see tests/assemble
    "sft.path": ["elsewhere.jsonl"],
    "sft.schedule": "constant",
    "sft.batch_size": 32,
    "sft.micro_batch_size": 2,
    "sft.optimizer": "sgd",
    "sft.process": "spawn",
    "sft.processes": None,  # with sft.process=launch: see the test of both
    "sft.max_length": 128,
    "sft.memory_gib": 20.0,
    "training.method": None,  # with training.loss and training.reference
    "training.loss": ["ipo", "sft"],
    "training.loss_weights": [1.0, 0.5],
    "training.reference": "initial",
    "training.schedule": "constant",
    "training.batch_size": 64,
    "training.micro_batch_size": 16,
    "training.optimizer": "sgd",
    "training.process": "spawn",
    "training.processes": None,  # with training.process=launch: see the test of both
    "training.max_length": 128,
    "training.memory_gib": 20.0,
    "model.context": 128,
    "prompts.system": "Be brief.",
    "judge.system": "Be fair.",
    "evaluation.oracle._target_": None,  # with evaluation.arbiter: see the test of it
    "evaluation.arbiter": "initial",
    "evaluation.arbiter_model": "org/name",
    "evaluation.baseline_temperatures": [0.5],
    "health.on_alarm": "keep_best",
    "tracking._target_": None,  # with its settings: see the test of every tracker
    "tracking.mode": "offline",
    "tracking.entity": "team",
    "tracking.group": "study",
    "tracking.tags": ["a"],
    "tracking.artifacts": "upload",
    "hub.push": None,  # with hub.repo
    "hub.repo": "owner/name",
    "hub.models": "all",
    "hub.endpoint": "https://hub.example",
    "store.root": "elsewhere",
    "engine.max_gap": None,
}
SKIPPED = {key for key, value in ANOTHER.items() if value is None and key != "engine.max_gap"}


@functools.cache
def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        found = compose("config", ["iterations=2", *overrides])
    plain = OmegaConf.to_container(found, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "experiment"}


def shipped(*overrides: str) -> dict[str, Any]:
    """Return the shipped values, composed once a module and copied."""
    return copy.deepcopy(composed(*overrides))


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


SHIPPED = dict(leaves(shipped()))


def keys(values: dict[str, Any], root: Path) -> set[str]:
    values["store"]["root"] = str(root / values["store"]["root"])
    config = load(values)
    return {step.key for _, steps in plan.plan(config) for step in steps}


def is_marked(key: str, values: dict[str, Any]) -> bool:
    """Tell whether a setting is marked, in the schema or in the class that its section names."""
    section, *path = key.split(".")
    chosen = values.get(section)
    target = chosen.get("_target_") if isinstance(chosen, dict) else None
    if is_keyless(key) or target is None:
        return is_keyless(key)
    module, _, kind = target.rpartition(".")
    own: Any = getattr(importlib.import_module(module), kind)
    for name in path:
        found = [item for item in settings_of(own) if item.name == name]
        if not found or found[0].keyless:
            return bool(found)
        own = found[0].hint
    return False


def another(key: str) -> Any:
    value = SHIPPED[key]
    if key in ANOTHER:
        return ANOTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 if value else 0.25
    return value + 1 if isinstance(value, int) else f"{value}-changed"


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return keys(shipped(), tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("key", sorted(set(SHIPPED) - SKIPPED))
def test_a_setting_changes_a_key_or_is_listed(
    key: str, usual: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iterdpo.engines.local.vllm_installed", lambda: True)
    values = copy.deepcopy(shipped())
    *path, name = key.split(".")
    section = values
    for part in path:
        section = section[part]
    section[name] = another(key)
    changed = keys(values, tmp_path) != usual
    inert = is_marked(key, values) or key in OTHERS_CHOICE
    if key in COUNTS_OTHERWISE:
        assert changed
        assert inert
    else:
        assert changed != inert, f"{key}={section[name]}"


@pytest.mark.parametrize("section", ["training", "sft"])
def test_the_number_of_processes_is_in_no_key(section: str, tmp_path: Path) -> None:
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"prompt": "Name two fish.", "response": "cod eel"}\n')
    tuned = ["sft=qlora", f"sft.path=[{examples}]", f"{section}.micro_batch_size=4"]
    shared = [f"{section}.process=launch", f"{section}.processes=2"]
    one, two = (keys(shipped(*tuned, *more), tmp_path) for more in ([], shared))
    assert one == two


@pytest.mark.parametrize("tracker", ["none", "trackio"])
def test_no_tracker_is_in_a_key(tracker: str, usual: set[str], tmp_path: Path) -> None:
    assert keys(shipped(f"tracking={tracker}"), tmp_path) == usual


def test_the_oracle_is_in_the_keys(usual: set[str], tmp_path: Path) -> None:
    file = tmp_path / "graders.py"
    file.write_text(
        "from iterdpo.evaluation import Verifier\n"
        "class Same(Verifier):\n"
        "    def score(self, prompt, response):\n        return 0.5\n"
    )
    values = shipped()
    values["evaluation"]["oracle"] = {"_target_": f"{file}:Same"}
    assert keys(values, tmp_path) != usual


# Of the judges that are not in the shipped recipe: every setting that a kind reads, another value.
JUDGES: dict[str, dict[str, Any]] = {
    "pairwise": {
        "judge.comparisons": 4,
        "judge.model": "initial",
        "judge.min_readable": 0.25,
        "judge.min_mass": 0.2,
        "judge.rubric": None,  # by its text: see tests/judging
        "judge.low": 1,
        "judge.high": 9,
        "judge.system": "Be fair.",
    },
    "pairrm": {
        "judge.path": None,  # counts by its files: see tests/judging
        "judge.revision": "main",
        "judge.device": None,  # what there is decides
        "judge.dtype": "bfloat16",
        "judge.batch_size": 3,
        "judge.source_tokens": 99,
        "judge.candidate_tokens": 99,
        "judge.min_scored": 0.25,
    },
    "reward_model": {
        "judge.path": None,
        "judge.revision": "main",
        "judge.device": None,
        "judge.dtype": "float16",
        "judge.batch_size": 3,
        "judge.context": 64,
        "judge.chat_template": __file__,
        "judge.min_scored": 0.25,
    },
    "checklist": {
        "judge.model": "initial",
        "judge.rubric": None,
        "judge.criteria": [{"text": "is short", "weight": 1.0}],
        "judge.yes": "yes",
        "judge.no": "no",
        "judge.min_mass": 0.2,
        "judge.system": "Be fair.",
    },
    "verifier": {
        "judge.seconds": 9.0,
        "judge.verifier": None,  # counts by what it is: by its own settings
        "judge.verifier.form": "boxed",
        "judge.verifier.tolerance": 0.1,
    },
    "human": {
        "judge.labels": None,
        "judge.low": -1,
        "judge.high": 9,
    },
    "endpoint": {
        "judge.base_url": "http://localhost:9/v1",
        "judge.model": "another",
        "judge.api_key_env": "ITERDPO_TEST_KEY",
        "judge.send_seed": False,
        "judge.limit_name": "max_completion_tokens",
        "judge.concurrency": 3,
        "judge.requests_per_minute": 60,
        "judge.timeout_seconds": 9.0,
        "judge.retries": 2,
        "judge.price_in": 2.0,
        "judge.price_out": 2.0,
        "judge.budget": 3.0,
        "judge.samples": 5,
        "judge.temperature": 0.1,
        "judge.top_p": 0.5,
        "judge.max_tokens": 99,
        "judge.min_readable": 0.25,
        "judge.rubric": None,
        "judge.low": None,  # bound to the rubric
        "judge.high": None,
        "judge.system": "Be fair.",
    },
}


JudgedBy = Callable[[str], tuple[dict[str, Any], set[str]]]


@pytest.fixture(scope="module")
def judged_by(tmp_path_factory: pytest.TempPathFactory) -> JudgedBy:
    """A function from a kind of judge to the values of the recipe with it, and their keys."""
    from tests.judging.rankers import make_pairrm, make_reward_model

    place = tmp_path_factory.mktemp("judges")
    labels = place / "labels.jsonl"
    labels.write_text('{"first": "a", "second": "b", "preference": 1, "annotator": "me"}\n')
    needed: dict[str, Callable[[], list[str]]] = {
        "pairwise": list,
        "checklist": list,
        "verifier": list,
        "human": lambda: [f"judge.labels={labels}"],
        "pairrm": lambda: [f"judge.path={make_pairrm(place / 'p')}"],
        "reward_model": lambda: [f"judge.path={make_reward_model(place / 'r', 'qwen')}"],
        "endpoint": lambda: ["judge.model=one", "judge.price_in=1"],
    }
    found: dict[str, tuple[dict[str, Any], set[str]]] = {}

    def get(kind: str) -> tuple[dict[str, Any], set[str]]:
        if kind not in found:
            values = shipped(f"judge={kind}", *needed[kind]())
            found[kind] = values, keys(copy.deepcopy(values), place)
        return found[kind]

    return get


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (kind, key)
        for kind, others in JUDGES.items()
        for key, other in others.items()
        if other is not None
    ],
)
def test_a_setting_of_a_judge_changes_a_key_or_is_listed(
    kind: str, key: str, judged_by: JudgedBy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITERDPO_TEST_KEY", "secret")
    plain, usual = judged_by(kind)
    values = copy.deepcopy(plain)
    *path, name = key.split(".")
    section = values
    for part in path:
        section = section[part]
    section[name] = JUDGES[kind][key]
    inert = is_marked(key, values) and key not in COUNTS_OTHERWISE
    assert (keys(values, tmp_path) == usual) == inert, f"{key}={section[name]}"


def test_no_setting_of_a_judge_is_forgotten() -> None:
    needed = {"human": ["judge.labels=FILE"], "endpoint": ["judge.model=NAME"]}
    for kind, others in JUDGES.items():
        section = shipped(f"judge={kind}", *needed.get(kind, ()))["judge"]
        assert {f"judge.{name}" for name in section} - set(others) <= {
            "judge._target_", "judge.min_scored",
        }  # fmt: skip


def test_every_listed_setting_is_there() -> None:
    assert set(OTHERS_CHOICE) <= set(SHIPPED)
    assert not any(map(is_keyless, OTHERS_CHOICE))
