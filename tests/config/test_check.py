"""The schema, and every configuration file that ships."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from iterdpo.config.check import load
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.messages import READ_AS_NUMBER
from iterdpo.config.schema import Config
from iterdpo.errors import ConfigError
from tests.checkpoints import CheckpointOf

CONF = conf_directory()
FILES = sorted(
    (path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name != "hydra"
)


def compose_with(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.fixture(scope="module")
def values() -> Any:
    return OmegaConf.to_container(compose_with(), resolve=True)


@pytest.fixture
def wrong(values: Any) -> Any:
    """A copy of the shipped values to spoil."""
    spoiled = copy.deepcopy(values)
    spoiled.pop("experiment", None)
    return spoiled


def problems(values: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(values)
    return caught.value.problems


HUMAN = [f"++judge.{setting}" for setting in ("labels={here}/prompts.txt", "low=0", "high=1")]
EXAMPLES = "sft.path=[{here}/examples.jsonl]"
NEEDED = {
    "evaluation=custom": ["evaluation.oracle._target_=iterdpo.evaluation.oracles.LabOracle"],
    "engine=custom": ["engine._target_=tests.engines.own.OwnEngine"],
    "hub=push": ["hub.repo=owner/name"],
    "judge=custom": ["judge._target_=iterdpo.judging.human.HumanJudge", *HUMAN],
    "judge=endpoint": ["judge.model=judge-8b"],
    "judge=human": ["judge.labels={here}/prompts.txt"],
    "model=local": ["model.path={checkpoint}"],
    "pairs=best_worst": ["candidates.n=4"],
    "pairs=custom": ["pairs._target_=iterdpo.pairing.best_worst.BestWorst"],
    "pairs=dataset": ["pairs.dataset.path={here}/pairs.jsonl"],
    "prompts=custom": ["prompts._target_=iterdpo.prompts.lab.LabPrompts"],
    "prompts=dataset": ["prompts.path={here}/prompts.txt"],
    "prompts=file": ["prompts.path={here}/prompts.txt"],
    "prompts=pairs": ["pairs=ultrafeedback_binarized"],
    "prompts=self_instruct": ["prompts.path={here}/prompts.txt"],
    "sft=full": [EXAMPLES, "model.adapter=null", "model.quantization=none"],
    "sft=merged": [EXAMPLES],
    "sft=oasst1": ["judge=additive"],
    "sft=qlora": [EXAMPLES],
    "verifier=custom": ["judge.verifier._target_=iterdpo.verifiers.ifeval.IfEval"],
    "tracking=custom": ["tracking._target_=iterdpo.tracking.base.NoTracker"],
    "experiment=own_model": ["model.path={checkpoint}", "prompts.path={here}/prompts.txt"],
    "experiment=sft_dpo": [EXAMPLES, "prompts.path={here}/prompts.txt"],
    "experiment=gptq_dpo": ["prompts.path={here}/prompts.txt"],
    "experiment=self_rewarding_8b": ["prompts.path={here}/prompts.txt"],
    "experiment=self_rewarding_8b_24gb": ["prompts.path={here}/prompts.txt"],
}
"""What a file's choice cannot do without."""


@pytest.mark.parametrize(("group", "name"), FILES)
def test_every_shipped_file_composes_to_a_valid_configuration(
    group: str,
    name: str,
    tmp_path: Path,
    checkpoint_of: CheckpointOf,
    request: pytest.FixtureRequest,
) -> None:
    if (group, name) == ("engine", "vllm"):
        request.getfixturevalue("vllm")
    (tmp_path / "prompts.txt").write_text("Say hello.\n")
    needed = [
        setting.format(here=tmp_path, checkpoint=checkpoint_of("llama"))
        for setting in NEEDED.get(f"{group}={name}", ())
    ]
    if (group, name) == ("verifier", "json_schema"):
        pytest.importorskip("jsonschema", reason="comes with the extra verifiers")
    chosen = [f"{group}={name}"]
    if group == "verifier":  # its choices are a judge's or the evaluation's
        chosen = ["judge=verifier", f"verifier@judge.verifier={name}"]
    config = typed(compose_with(*chosen, *needed))
    assert isinstance(config, Config)


def test_the_launchers_compose() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="comes with extra sweep")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", overrides=["hydra/launcher=cluster"], return_hydra_config=True)
    launcher: Any = OmegaConf.to_container(composed.hydra.launcher, resolve=False)
    assert launcher["_target_"].endswith("SlurmLauncher")
    assert (launcher["gpus_per_node"], launcher["signal_delay_s"]) == (1, 300)


def test_an_overlay_begins_with_its_command() -> None:
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        second = path.read_text().splitlines()[1]
        assert second.startswith(f"# python -m iterdpo experiment={path.stem}"), path


def test_every_file_says_what_it_is() -> None:
    for group, name in FILES:
        assert (CONF / group / f"{name}.yaml").read_text().startswith("#"), (group, name)


def test_a_wrong_value_is_one_line_with_key_value_and_what_is_allowed(wrong: Any) -> None:
    wrong["training"]["beta"] = -1
    assert problems(wrong) == ("training.beta=-1: input should be greater than 0",)


def test_all_wrong_values_are_reported_at_once(wrong: Any) -> None:
    wrong["training"]["beta"] = "high"
    wrong["pairs"]["on_empty"] = "cry"
    wrong["iterations"] = 0
    wrong["nonsense"] = 1
    del wrong["seed"]
    found = problems(wrong)
    assert len(found) == 5
    assert any(line.startswith("training.beta=high: ") for line in found)
    assert any("'stop' or 'skip'" in line for line in found)
    assert "nonsense: no such setting" in found
    assert "seed: is missing" in found


def test_a_number_in_quotes_and_a_true_for_a_count_are_wrong(wrong: Any) -> None:
    wrong["training"]["beta"] = "0.1"
    wrong["iterations"] = True
    assert len(problems(wrong)) == 2


PARALLEL = {
    "max_sequences": 1, "tensor_parallel": 2, "memory_share": None, "cache_gib": 1.0, "eager": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("n" * 300, "File name too long"),
        ("é" * 200, "File name too long"),
        ("~nobody-of-this-name/x", "Could not determine home directory."),
        ("nul\0", "embedded null byte"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_line(path: str, reason: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = ["prompts=file", "pairs=dataset", "prompts.path=x", "pairs.dataset.path=x"]
        given: Any = OmegaConf.to_container(compose("config", chosen), resolve=True)
    given["model"]["path"] = given["prompts"]["path"] = path
    given["pairs"]["dataset"]["path"] = given["store"]["root"] = path
    given["sft"]["path"] = [path]
    found = problems(given)
    for key in ("model.path", "prompts.path", "pairs.dataset.path", "sft.path.0", "store.root"):
        (said,) = [line for line in found if line.startswith(f"{key}=")]
        assert said.endswith(f": cannot be looked at ({reason}); check the path")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training.loss_weights": [1.0]}, "training.loss_weights"),
        ({"training.loss": [], "training.loss_weights": []}, "training.loss=[]"),
        ({"training.micro_batch_size": 7}, "must divide"),
        ({"training.loss": ["robust", "sft"]}, "training.label_smoothing=0"),
        ({"judge.low": 5}, "judge.low=5"),
        ({"judge.high": 10}, "judge.high=10"),
        ({"pairs.k": 5}, "pairs.k=5"),
        ({"pairs._target_": "iterdpo.pairing.best_worst.BestWorst"}, "pairs.k: no such setting of"),
        ({"prompts.path": "/no/such/file.jsonl"}, "prompts.path: no such setting of"),
        ({"model.path": "/no/such/model"}, "model.path=/no/such/model"),
        (
            {"engine.backend": "transformers", "engine.vllm": PARALLEL},
            "engine.vllm.tensor_parallel=2",
        ),
        ({"evaluation.oracle": None}, "evaluation.arbiter=oracle: there is none"),
        ({"evaluation.arbiter": "external"}, "evaluation.arbiter_model=null"),
        ({"evaluation.baseline_temperatures": [0]}, "evaluation.baseline_temperatures.0=0"),
        ({"hub.push": True}, "hub.repo=null: hub.push=true needs a repository"),
        ({"hub.push": True, "hub.models": "none", "hub.pairs": False}, "hub.models=none: "),
        ({"hub.repo": "owner/name/more"}, "hub.repo=owner/name/more: is no repository's name"),
        ({"hub.repo": "owner/" + "n" * 91}, "is too long; the name may have 90 characters"),
        ({"hub.endpoint": "http://hub.example"}, "would send your token unencrypted"),
        ({"hub.endpoint": "https://me:pw@hub.example"}, "hub.endpoint: holds credentials"),
        ({"hub.endpoint": "hub.example"}, "hub.endpoint=hub.example: give a URL"),
        ({"hub.endpoint": "https://[::1"}, "hub.endpoint=https://[::1: give a URL"),
        ({"hub.endpoint": "https://me:pw@[::1"}, "hub.endpoint: holds credentials"),
        ({"health.on_alarm": "cry"}, "'warn', 'stop' or 'keep_best'"),
        ({"health.max_tie_rate": 50}, "health.max_tie_rate=50"),
        ({"pairs._target_": "random"}, "pairs._target_=random: name a class"),
        ({"engine.residency": "away"}, "'auto', 'resident', 'sleep' or 'restart'"),
        ({"store.root": ""}, "store.root=: is empty; name a place, or . for this directory"),
        ({"engine.shard_rows": 10**25}, "engine.shard_rows=10000000000000000000000000: input"),
        ({"engine.max_gap": float("inf")}, "engine.max_gap=Infinity: input should be a finite"),
        ({"training.max_grad_norm": float("nan")}, "training.max_grad_norm=NaN: "),
        ({"model.adapter": "none"}, "model.adapter=none: is a group of settings; set them one"),
        ({"engine.device": "gpu"}, "engine.device=gpu: "),
        ({"training.loss": ["dpo"], "training.loss_weights": [1.0]}, "training.loss.0=dpo"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    wrong: Any, changes: dict[str, Any], said: str
) -> None:
    for key, value in changes.items():
        section, name = key.split(".")
        wrong[section][name] = value
    found = problems(wrong)
    assert any(said in line for line in found), found
    assert not any("\n" in line for line in found)


@pytest.mark.parametrize(
    ("choice", "changes", "said"),
    [
        ("lab", {"_target_": ""}, ["judge._target_: is missing; name a class that derives from"]),
        ("lab", {"rubric": None}, ["judge.rubric=null: input should be a valid string"]),
        ("lab", {"low": 5}, ["judge.low=5: must be below high=5", "judge.high=5: the rubric lab"]),
        (
            "lab",
            {"labels": "x.jsonl"},
            ["judge.labels: no such setting of iterdpo.judging.self_judge.SelfJudge, which has mo"],
        ),
        (
            "lab",
            {"rubric": "own.jinja", "high": 12},
            ["judge.high=12: score=expected reads one token, so scores must lie in 0..9; use"],
        ),
        (
            "pairrm",
            {"rubric": "lab", "low": 0, "system": "Be fair."},
            ["judge.rubric, judge.low, judge.system: no such settings of iterdpo.judging.pairrm."],
        ),
        (
            "pairwise",
            {"comparisons": 1},
            [
                "judge.comparisons=1: input should be 'all'",
                "judge.comparisons=1: input should be greater than or equal to 2",
            ],
        ),
        ("pairwise", {"low": 5}, ["judge.low=5: must be below high=5"]),
        ("reward_model", {"path": 3}, [f"judge.path: {READ_AS_NUMBER}"]),
        ("human", {"high": 0}, ["judge.low=0: must be below high=0"]),
        ("endpoint", {"score": "sampled"}, ["judge.score: no such setting of "]),
        ("endpoint", {"base_url": "localhost:8000"}, ["judge.base_url=localhost:8000: give a URL"]),
        ("endpoint", {"base_url": "http://host:80a/v1"}, ["judge.base_url=http://host:80a/v1: gi"]),
        ("endpoint", {"base_url": "http://[::1/v1"}, ["judge.base_url=http://[::1/v1: give a URL"]),
        ("endpoint", {"base_url": "http://host:99999"}, ["judge.base_url=http://host:99999: give"]),
        ("endpoint", {"base_url": "ftp://me:sk-1@host:80a"}, ["judge.base_url: holds credentials"]),
        ("endpoint", {"base_url": "https://me:sk-1@host/v1"}, ["judge.base_url: holds credential"]),
        ("endpoint", {"base_url": "https://host/v1?key=sk-1"}, ["judge.base_url: holds credentia"]),
        ("endpoint", {"api_key_env": "sk-1-abc"}, ["judge.api_key_env: is no name"]),
        ("endpoint", {"api_key_env": "deadbeef01"}, ["judge.api_key_env: is no name"]),
        ("endpoint", {"budget": 5.0}, ["judge.budget=5: nothing has a price"]),
    ],
)
def test_what_a_judge_does_not_go_with(
    choice: str, changes: dict[str, Any], said: list[str]
) -> None:
    needed = {"endpoint": ["judge.model=judge-8b"], "human": ["judge.labels=x.jsonl"]}
    composed = compose_with(f"judge={choice}", *needed.get(choice, ()))
    values: Any = OmegaConf.to_container(composed, resolve=True)
    values.pop("experiment", None)
    values["judge"] |= changes
    found = problems(values)
    assert len(found) == len(said), found
    for line in said:
        assert any(item.startswith(line) for item in found), found
    assert not any(secret in line for line in found for secret in ("sk-1", "deadbeef01"))


def test_vllm_where_it_is_not_installed_says_how_to_get_it(
    wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iterdpo.engines.local.vllm_installed", lambda: False)
    wrong["engine"]["backend"] = "vllm"
    (said,) = problems(wrong)
    assert said.startswith(
        "engine.backend=vllm: vLLM is not installed; it comes with `make install`"
    )


def test_every_field_has_a_docstring_or_says_it_by_its_name() -> None:
    # The schema is documentation: each section must open with a sentence.
    import dataclasses

    from iterdpo.config import schema

    for name, kind in vars(schema).items():
        if dataclasses.is_dataclass(kind):
            assert kind.__doc__, name
            assert not kind.__doc__.startswith(f"{name}("), name


def test_the_configuration_lies_where_the_package_looks(tmp_path: Path) -> None:
    assert (CONF / "config.yaml").is_file()
    assert Path(CONF).name == "conf"


def test_a_tilde_is_the_users_home(
    wrong: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    wrong["store"]["root"] = "~/store"
    assert load(wrong).store.root == tmp_path / "store"


def test_a_home_of_nobody_is_a_line(wrong: Any) -> None:
    wrong["store"]["root"] = "~nobody-of-that-name/store"
    (line,) = problems(wrong)
    assert line.startswith("store.root=~nobody-of-that-name/store: ")


@pytest.mark.parametrize("setting", ["model.thinking=off", "+model.template_arguments.effort=low"])
def test_given_answers_do_not_go_with_a_template_that_is_switched(setting: str) -> None:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        composed = compose("config", [setting, "sft=qlora", "sft.path=[conf]"])
    with pytest.raises(ConfigError, match="sft takes the chat template as it is"):
        typed(composed)
