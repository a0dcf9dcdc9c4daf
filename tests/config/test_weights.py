"""How weights are held and trained: what settings allow only one by one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble import assemble, make_engine
from iterdpo.assemble.hardware import require_optimizers, resolved
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.errors import ConfigError, UserError

ALL_WEIGHTS = ("model.adapter=null", "model.quantization=none")
PAGED = "training.optimizer=paged_adamw_8bit"


def config_of(*overrides: str) -> Config:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", [*overrides]))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ALL_WEIGHTS,
        ("sft=qlora", "sft.path=[a.jsonl]"),
        ("sft=merged", "sft.path=[a.jsonl,b.parquet]"),
        ("sft=full", "sft.path=[a.jsonl]", *ALL_WEIGHTS),
    ],
)
def test_what_fits_together_is_taken(overrides: tuple[str, ...]) -> None:
    config_of(*overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model.adapter=null",), r"model\.quantization=nf4: model\.adapter=null trains every"),
        (("sft=qlora", "sft.path=[]"), r"sft\.path=\[\]: sft=qlora needs files of examples"),
        (("sft=qlora", "sft.path=[a]", *ALL_WEIGHTS), r"sft\.method=qlora: needs model\.adapter"),
        (("sft=full", "sft.path=[a]"), r"sft\.method=full: trains every weight: set model\.adapt"),
        (("sft=oasst1", "judge=additive", "judge.score=expected"), r"SelfJudge asks it for none"),
        (("sft.micro_batch_size=3",), r"sft\.micro_batch_size=3: must divide sft\.batch_size=16"),
        (("training.micro_batch_size=3",), r"must divide training\.batch_size=32"),
    ],
)
def test_what_does_not_fit_together_is_one_line(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        config_of(*overrides)
    assert len(raised.value.problems) == 1


def test_nothing_is_left_to_be_chosen_when_a_run_is_assembled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_of("model.dtype=auto", "model.attention=auto", "engine.device=cpu")
    model = resolved(config).model
    assert (model.dtype, model.attention) == ("float32", "sdpa")
    chosen = config_of("model.dtype=float32", "model.attention=sdpa", "engine.device=cpu")
    assert resolved(config) == chosen == resolved(chosen)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            (PAGED,),
            r"training\.optimizer=paged_adamw_8bit: no CUDA",
        ),
        (
            ("sft=qlora", "sft.path=[a]", "sft.optimizer=paged_adamw_32bit"),
            r"sft\.optimizer=paged_adamw_32bit: no CUDA device is used",
        ),
        (("training.optimizer=adamm",), r"training\.optimizer=adamm: no optimizer of transform"),
    ],
)
def test_an_optimizer_that_cannot_run_here_is_refused_at_the_door(
    overrides: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    config = config_of("engine.device=cpu", *overrides)
    with pytest.raises(UserError, match=said):
        require_optimizers(config)
    with pytest.raises(UserError, match=said):
        assemble(config, tmp_path)


def test_who_only_answers_needs_no_optimizer(tmp_path: Path) -> None:
    """A run that was trained with a paged optimizer on a GPU is compared on a CPU."""
    config = config_of("engine=transformers", "engine.device=cpu", PAGED)
    assert make_engine(config).identity["device"] == "cpu"


def test_an_optimizer_that_is_not_used_is_not_looked_at() -> None:
    config = config_of("engine.device=cpu")
    idle = dataclasses.replace(config.sft, optimizer="paged_adamw_8bit")
    require_optimizers(dataclasses.replace(config, sft=idle))


def test_a_launcher_of_several_processes_is_refused_at_the_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match=r"WORLD_SIZE=2: started by a launcher"):
        resolved(config_of())
