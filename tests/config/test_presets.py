"""The presets of real models and their recipes: what they say of memory, and what they fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from iterdpo.config.choices import as_values
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.engines.memory import (
    ALONE_SHARE,
    MemoryEstimate,
    choose_residency,
    engine_bytes,
)
from iterdpo.engines.placement import WORTHWHILE_SEQUENCES
from iterdpo.models.memory import GIB, ModelShape, base_bytes, trainer_bytes
from iterdpo.models.prequantized import PREQUANTIZED
from tests.narrowing import present

MODELS = conf_directory() / "model"
BFLOAT16 = 2


@dataclass(frozen=True)
class Known:
    """What a model's own config.json and hub page say."""

    shape: ModelShape
    declared: int
    """Tokens of context."""
    gated: bool


LLAMA = ModelShape(4096, 32, 32, 8, 128, 14336, 128256, tied=False)
QWEN = ModelShape(3584, 28, 28, 4, 128, 18944, 152064, tied=False)
KNOWN = {
    "llama3_8b": Known(LLAMA, 8192, gated=True),
    "llama3_8b_instruct": Known(LLAMA, 8192, gated=True),
    "llama3_1_8b_instruct": Known(LLAMA, 131072, gated=True),
    "mistral_7b_instruct": Known(
        ModelShape(4096, 32, 32, 8, 128, 14336, 32768, tied=False), 32768, gated=False
    ),
    "qwen2_5_7b_instruct": Known(QWEN, 32768, gated=False),
    "qwen2_5_7b_instruct_gptq": Known(QWEN, 32768, gated=False),
    "qwen2_5_7b_instruct_awq": Known(QWEN, 32768, gated=False),
    "qwen2_5_0_5b_instruct": Known(
        ModelShape(896, 24, 14, 2, 64, 4864, 151936, tied=True), 32768, gated=False
    ),
    "qwen3_4b_instruct": Known(
        ModelShape(2560, 36, 32, 8, 128, 9728, 151936, tied=True), 262144, gated=False
    ),
    "gemma2_9b_it": Known(
        ModelShape(3584, 42, 16, 8, 256, 14336, 256000, tied=True), 8192, gated=True
    ),
}
EXPERIMENTS = sorted(path.stem for path in (conf_directory() / "experiment").glob("*.yaml"))
PRESETS = sorted({path.stem for path in MODELS.glob("*.yaml")} - {"lab", "local"})
MEMORY = re.compile(
    r"^# Memory: ([\d.]+) GiB to serve 16 answers side by side, ([\d.]+) GiB to train on pairs of "
    r"2,048 tokens\.$",
    re.MULTILINE,
)


@pytest.fixture
def config_of(tmp_path: Path) -> Callable[..., Config]:
    """A function from overrides to the typed configuration, with a file of prompts."""
    (tmp_path / "prompts.txt").write_text("Say hello.\n")

    def get(*overrides: str) -> Config:
        recipe = any(item.startswith("experiment=") for item in overrides)
        prompts = [] if recipe else ["prompts=file"]
        path = f"prompts.path={tmp_path / 'prompts.txt'}"
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            return typed(compose("config", overrides=[*overrides, *prompts, path]))

    return get


def training_of(shape: ModelShape, config: Config, **changes: Any) -> int:
    model, training = config.model, config.training
    assert training.max_length is not None
    asked: dict[str, Any] = {
        "quantization": model.scheme,
        "dtype_bytes": BFLOAT16,
        "rank": present(model.adapter).rank,
        "micro_batch": training.micro_batch_size,
        "length": training.max_length,
        "gradient_checkpointing": training.gradient_checkpointing,
        "eager_attention": model.attention == "eager",
    }
    return trainer_bytes(shape, **asked | changes)


def test_every_preset_is_known_here() -> None:
    assert set(KNOWN) == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_it_needs(name: str, config_of: Callable[..., Config]) -> None:
    config = config_of(f"model={name}", "training=dpo")
    known, model = KNOWN[name], config.model
    (said,) = MEMORY.findall((MODELS / f"{name}.yaml").read_text())
    held = model.quantization if model.quantization in PREQUANTIZED else "none"
    serving = engine_bytes(known.shape, BFLOAT16, present(model.context), 16, held)
    training = training_of(
        known.shape, config, micro_batch=1, length=2048, gradient_checkpointing=True
    )
    assert said == (f"{serving / GIB:.1f}", f"{training / GIB:.1f}")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_whether_it_is_gated_and_what_it_reads(name: str) -> None:
    text = " ".join((MODELS / f"{name}.yaml").read_text().split())
    assert ("Gated: accept the" in text) == KNOWN[name].gated
    assert ("Apache 2.0" in text) == (not KNOWN[name].gated)
    assert f"{KNOWN[name].declared:,} tokens" in text.replace("# ", "")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_differ_from_any_other_model_only_where_they_must(name: str) -> None:
    own: Any = OmegaConf.to_container(OmegaConf.load(MODELS / f"{name}.yaml"))
    local: Any = OmegaConf.to_container(OmegaConf.load(MODELS / "local.yaml"))
    assert list(own) == list(local)
    differing = {key for key in own if own[key] != local[key]}
    if own["quantization"] in PREQUANTIZED:
        assert own["path"].lower().replace("-int4", "").endswith(f"-{own['quantization']}")
        differing -= {"quantization"}
    assert differing <= {"name", "path", "dtype", "attention", "context"}
    assert own["dtype"] == "bfloat16"
    assert re.fullmatch(r"[\w-]+/[\w.-]+", own["path"])
    assert own["name"] in own["path"]
    assert own["context"] <= KNOWN[name].declared


@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_a_packed_base_says_what_unpacking_it_costs_and_how_large_it_is(name: str) -> None:
    text = (MODELS / f"qwen2_5_7b_instruct_{name}.yaml").read_text()
    whole = engine_bytes(QWEN, BFLOAT16, 4096, 16) / GIB
    assert f"unpacks it, and serves from {whole:.1f} GiB" in text
    assert f"; {base_bytes(QWEN, name, BFLOAT16) / 1e9:.1f} GB." in text


def estimate_of(shape: ModelShape, config: Config, card: float, held: str) -> MemoryEstimate:
    context = present(config.model.context)
    return MemoryEstimate(
        card=int(card * GIB),
        engine=engine_bytes(shape, BFLOAT16, context, WORTHWHILE_SEQUENCES, held),
        trainer=training_of(shape, config),
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_recipe_says_how_wide_vllm_writes(name: str) -> None:
    assert "max_sequences" not in (conf_directory() / "experiment" / f"{name}.yaml").read_text()


def test_a_packed_base_and_its_training_share_24_gb(
    config_of: Callable[..., Config],
) -> None:
    config = config_of("experiment=gptq_dpo")
    estimate = estimate_of(QWEN, config, 24, config.model.quantization)
    assert config.engine.choice.settings["residency"] == "auto"
    assert choose_residency(estimate) == "resident"


def test_gemma_2_keeps_its_soft_cap(config_of: Callable[..., Config]) -> None:
    assert config_of("model=gemma2_9b_it").model.attention == "eager"


@pytest.mark.parametrize("name", ["self_rewarding_8b", "self_rewarding_8b_24gb"])
def test_the_recipe_is_the_papers(name: str, config_of: Callable[..., Config]) -> None:
    config = config_of(f"experiment={name}")
    answers, judge, training = config.candidates, config.judge.choice, config.training
    assert (answers.n, answers.temperature, answers.top_p) == (4, 0.7, 0.9)
    own = {"model": "current", "rubric": "additive", "score": "sampled", "samples": 3}
    assert own.items() <= judge.settings.items()
    assert config.pairs.choice.name == "BestWorst"
    assert (training.loss, training.beta, training.batch_size) == (("sigmoid",), 0.1, 16)
    assert training.reference == "previous"
    assert training.max_length == 2048
    assert training.process == "spawn"
    assert config.model.name == "Llama-3-8B-Instruct"


def test_a_judge_has_room_for_the_longest_answer(config_of: Callable[..., Config]) -> None:
    config = config_of("experiment=self_rewarding_8b")
    # The additive rubric is under 600 tokens; what is left is for the question.
    used = 600 + config.candidates.max_tokens + config.judge.choice.settings["max_tokens"]
    assert present(config.model.context) - used >= 1024
    assert present(config.training.max_length) - config.candidates.max_tokens >= 1024


def test_the_smaller_card_changes_nothing_but_portions(config_of: Callable[..., Config]) -> None:
    large, small = (
        as_values(config_of(f"experiment={name}"))
        for name in ("self_rewarding_8b", "self_rewarding_8b_24gb")
    )
    differing = {
        f"{section}.{key}"
        for section, values in large.items()
        if isinstance(values, dict)
        for key in values
        if values[key] != small[section][key]
    }
    assert differing == {"engine.transformers", "training.micro_batch_size"}


@pytest.mark.parametrize("gib", [79.1, 141])
def test_engine_and_training_share_a_large_gpu(
    gib: float, config_of: Callable[..., Config]
) -> None:
    config = config_of("experiment=self_rewarding_8b")
    assert config.engine.choice.settings["residency"] == "auto"
    assert choose_residency(estimate_of(LLAMA, config, gib, "none")) == "resident"


def test_engine_and_training_take_turns_on_24_gb(config_of: Callable[..., Config]) -> None:
    config = config_of("experiment=self_rewarding_8b_24gb")
    estimate = estimate_of(LLAMA, config, 24, "none")
    assert config.engine.choice.settings["residency"] == "auto"
    assert choose_residency(estimate) == "restart"
    # For one sequence of the whole context at least.
    assert engine_bytes(LLAMA, BFLOAT16, present(config.model.context), 1) <= (
        ALONE_SHARE * estimate.card
    )
    assert estimate.trainer <= 0.95 * estimate.card
    assert config.training.gradient_checkpointing


def test_the_recipe_takes_another_model(config_of: Callable[..., Config]) -> None:
    config = config_of("experiment=self_rewarding_8b_24gb", "model=mistral_7b_instruct")
    assert config.model.name == "Mistral-7B-Instruct-v0.3"
    assert config.training.micro_batch_size == 1


def test_self_rewarding_is_the_papers_from_the_base_on(config_of: Callable[..., Config]) -> None:
    config = config_of("experiment=self_rewarding")
    assert (config.model.name, config.iterations) == ("Llama-3-8B", 2)
    answers, judge, training = config.candidates, config.judge.choice, config.training
    assert (answers.n, answers.temperature, answers.top_p) == (4, 0.7, 0.9)
    own = {"model": "current", "rubric": "additive", "score": "sampled", "samples": 3}
    assert own.items() <= judge.settings.items()
    assert (config.pairs.choice.name, config.pairs.min_margin) == ("BestWorst", 0.0)
    assert (training.loss, training.beta, training.batch_size) == (("sigmoid",), 0.1, 16)
    ranked, writing = config.sft.ranked, config.prompts.choice.settings["self_instruct"]
    assert ranked is not None
    assert (ranked.path, ranked.language, ranked.instructions) == (
        "OpenAssistant/oasst1", "en", 3200,
    )  # fmt: skip
    assert (config.sft.method, config.sft.batch_size) == ("qlora", 16)
    assert {"shots": 8, "temperature": 0.6, "top_p": 0.9}.items() <= writing.items()
    # A verdict on the longest answer is learned whole: the rubric is under 600 tokens.
    assert config.sft.max_length is not None
    assert 600 + ranked.max_tokens < config.sft.max_length


def test_all_weights_at_the_papers_rates_are_a_configuration(
    config_of: Callable[..., Config],
) -> None:
    text = (conf_directory() / "experiment" / "self_rewarding.yaml").read_text()
    said = text.partition("for which 160 GB are needed:\n")[2].splitlines()[:2]
    overrides = " ".join(line.removeprefix("#") for line in said).split()
    config = config_of("experiment=self_rewarding", *overrides)
    assert (config.model.adapter, config.model.quantization) == (None, "none")
    assert (config.sft.learning_rate, config.training.learning_rate) == (5.5e-6, 1e-6)


@pytest.mark.parametrize("name", ["self_rewarding", "sft_dpo", "lima_pairrm"])
def test_the_commands_of_a_recipe_are_understood(
    name: str, config_of: Callable[..., Config]
) -> None:
    from iterdpo.tools.compare.__main__ import parser

    text = (conf_directory() / "experiment" / f"{name}.yaml").read_text()
    commands = re.findall(r"^# python -m (\S+) (.*)$", text, re.MULTILINE)
    assert len(commands) == (2 if name == "lima_pairrm" else 1)
    for program, arguments in commands:
        if program == "iterdpo.compare":
            asked = parser().parse_args(arguments.split())
            assert ([str(run) for run in asked.runs], asked.n) == (["runs/lima_pairrm"], 10)
            assert f"hydra.run.dir={asked.runs[0]}" in commands[0][1]
        else:
            words = [word for word in arguments.split() if word != "prompts.path=FILE"]
            config = config_of(*(word for word in words if not word.startswith("hydra.")))
            assert config.training.process == "spawn"


def test_lima_pairrm_leaves_instructions_to_compare_on(config_of: Callable[..., Config]) -> None:
    config = config_of("experiment=lima_pairrm")
    assert (config.iterations, config.prompts.per_iteration, config.candidates.n) == (3, 50, 5)
    assert (config.judge.choice.name, config.model.name) == (
        "PairRmJudge",
        "Mistral-7B-Instruct-v0.3",
    )
    # LIMA has 1,030 instructions; of those held out, ten are to be seen by no evaluation.
    held_out = 1030 * config.prompts.choice.settings["held_out_share"]
    assert held_out - config.evaluation.prompts - config.evaluation.reference_prompts > 30
    assert 1030 - held_out > 3 * 50


def test_sft_dpo_refers_to_what_was_fine_tuned(config_of: Callable[..., Config]) -> None:
    config = config_of("experiment=sft_dpo", "sft.path=[examples.jsonl]")
    assert (config.sft.method, config.training.reference) == ("qlora", "initial")
    assert config.model.quantization == "nf4"
