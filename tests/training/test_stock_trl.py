"""Our trainings beside TRL's own trainers, on the same model, texts and seed.

TRL tokenizes the texts, makes the adapter and the reference, trains and logs, with nothing of ours;
what it made of the texts is then given to our training as token ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, Trainer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from iterdpo.models.layout import ADAPTER_DIR, ADAPTER_WEIGHTS
from iterdpo.store.tables import write_records
from iterdpo.training.spec import AnySpec, PairExample, SftExample
from iterdpo.training.train import train
from tests.training.conftest import MakeLessons, MakeSpec, odds_spec

WORDS = ("cat", "hen", "owl", "bee", "elk", "ant", "dog")
TEXTS = [
    {
        "prompt": f"Name {number + 2} animals.",
        "chosen": f" {' '.join(WORDS[: 2 + number % 3])} done",
        "rejected": f" {WORDS[number]} and {WORDS[number - 1]}",
    }
    for number in range(6)
]
LORA = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
ARGUMENTS: dict[str, Any] = {
    "learning_rate": 1e-2, "lr_scheduler_type": "linear", "num_train_epochs": 2, "seed": 0,
    "gradient_checkpointing": False, "bf16": False, "use_cpu": True, "logging_steps": 1,
    "save_strategy": "no", "report_to": "none", "optim": "adamw_torch", "weight_decay": 0.1,
    "max_grad_norm": 1.0, "disable_tqdm": True,
}  # fmt: skip
OURS: dict[str, Any] = {
    "learning_rate": 1e-2, "schedule": "linear", "epochs": 2, "weight_decay": 0.1,
    "max_grad_norm": 1.0,
}  # fmt: skip


def stock(kind: Any, path: str, arguments: Any, texts: Sequence[Any], adapter: Path | None) -> Any:
    """Return one of TRL's trainers of an adapter, a new one or the continuation of a stored one."""
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    more: dict[str, Any] = {"peft_config": LORA}
    if adapter is not None:
        model, more = PeftModel.from_pretrained(model, adapter, is_trainable=True), {}
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = tokenizer.eos_token
    trainer = kind(
        model=model, args=arguments, train_dataset=Dataset.from_list([*texts]),
        processing_class=tokenizer, **more,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def assert_same(
    trainer: Trainer, spec: AnySpec, examples: Sequence[Any], out: Path, names: Sequence[str]
) -> None:
    """Train by TRL's trainer and by ours, and compare every step and the adapters.

    Both compute in float32 (unit roundoff 6e-8) on the same batches, and add a step's terms in the
    same order, except that ours weights each micro batch before it is added and TRL divides after.
    That is a few roundings a step; Adam divides a gradient by its own size, so that one which is
    nearly 0 keeps their relative size. Over 4 steps 1e-5 leaves room for both; another batch, seed,
    mask, reference or scale changes a loss by more than 1e-3.
    """
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    write_records(Path(spec.examples), spec.record, examples)
    report = train(spec, out)
    assert len(steps) == report["steps"] == 4
    for ours, theirs in zip(report["history"], steps, strict=True):
        for name in ("loss", "grad_norm", "learning_rate", *names):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-6), name
    assert steps[0]["loss"] != pytest.approx(steps[-1]["loss"], rel=1e-2)  # it learns something
    model: Any = trainer.model
    trained: Mapping[str, torch.Tensor] = {
        name.replace(".default.", "."): weight.detach()
        for name, weight in model.named_parameters()
        if ".default." in name
    }
    kept = load_file(out / ADAPTER_DIR / ADAPTER_WEIGHTS)
    assert kept.keys() == trained.keys()
    for name, weight in trained.items():
        torch.testing.assert_close(kept[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("micro", [3, 1])
@pytest.mark.parametrize("start", ["a new adapter", "the adapter before"])
def test_dpo_is_that_of_trl(make_spec: MakeSpec, tmp_path: Path, micro: int, start: str) -> None:
    adapter = None
    spec = make_spec(**OURS, batch_size=3, micro_batch_size=micro, pairs=6)
    if start != "a new adapter":
        train(spec, tmp_path / "before")
        adapter = tmp_path / "before" / ADAPTER_DIR
        spec = dataclasses.replace(
            spec, policy_adapter=str(adapter), reference_adapter=str(adapter)
        )
    arguments = DPOConfig(
        str(tmp_path), **ARGUMENTS, beta=0.1,
        per_device_train_batch_size=micro, gradient_accumulation_steps=3 // micro,
    )  # fmt: skip
    trainer = stock(DPOTrainer, spec.base.path, arguments, TEXTS, adapter)
    examples = [
        noted(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
        for row in trainer.train_dataset
    ]
    names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "entropy")
    assert_same(trainer, spec, examples, tmp_path / "ours", names)


def noted(prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int]) -> PairExample:
    """Return a pair of answers that some engine has written."""
    return PairExample(prompt, chosen, rejected, (-1.0,) * len(chosen), (-1.0,) * len(rejected))


def test_orpo_is_that_of_trl(make_spec: MakeSpec, tmp_path: Path) -> None:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    spec = odds_spec(make_spec(**OURS, batch_size=3, micro_batch_size=3, pairs=6))
    arguments = ORPOConfig(
        str(tmp_path), **ARGUMENTS, beta=0.1, per_device_train_batch_size=3,
    )  # fmt: skip
    trainer = stock(ORPOTrainer, spec.base.path, arguments, TEXTS, None)
    examples = [
        noted(
            row["prompt_input_ids"],
            row["chosen_input_ids"][len(row["prompt_input_ids"]) :],
            row["rejected_input_ids"][len(row["prompt_input_ids"]) :],
        )
        for row in trainer.train_dataset
    ]
    names = ("nll_loss", "log_odds_ratio", "log_odds_chosen", "logps/chosen", "rewards/margins")
    assert_same(trainer, spec, examples, tmp_path / "ours", names)


@pytest.mark.parametrize("micro", [3, 1])
def test_sft_is_that_of_trl(make_sft_spec: MakeLessons, tmp_path: Path, micro: int) -> None:
    spec = make_sft_spec(examples=6, **OURS, batch_size=3, micro_batch_size=micro)
    spec = dataclasses.replace(spec, engine_logprobs=((-1.0,),) * 6)
    arguments = SFTConfig(
        str(tmp_path), **ARGUMENTS, max_length=None,
        per_device_train_batch_size=micro, gradient_accumulation_steps=3 // micro,
    )  # fmt: skip
    texts = [{"prompt": text["prompt"], "completion": text["chosen"]} for text in TEXTS]
    trainer = stock(SFTTrainer, spec.base.path, arguments, texts, None)
    examples = []
    for row in trainer.train_dataset:
        length = sum(label == -100 for label in row["labels"])
        ids = tuple(row["input_ids"])
        assert row["labels"][length:] == [*ids[length:]]
        examples.append(SftExample(ids[:length], ids[length:]))
    assert_same(trainer, spec, examples, tmp_path / "ours", ("entropy", "mean_token_accuracy"))
