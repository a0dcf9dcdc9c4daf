"""What the settings of model, supervised fine-tuning and DPO allow only one by one."""

from __future__ import annotations

from typing import Any

from iterdpo.config.schema import Config
from iterdpo.models.prequantized import PREQUANTIZED


def weight_problems(config: Config, judge: Any) -> list[str]:
    """Return what is wrong with how weights are held and trained, a line each.

    Args:
        config: the typed configuration.
        judge: the ``judging.Judge`` that it names; None where that is wrong itself.
    """
    return [*_batch_problems(config), *_adapter_problems(config), *_sft_problems(config, judge)]


def _batch_problems(config: Config) -> list[str]:
    sections = (("training", config.training), ("sft", config.sft))
    idle = [
        f"{section}.processes={training.processes}: is read with {section}.process=launch, and "
        f"{section}.process={training.process}; set one of the two"
        for section, training in sections
        if training.processes is not None and training.process != "launch"
    ]
    return idle + [
        f"{section}.micro_batch_size={training.micro_batch_size}: must divide "
        f"{section}.batch_size={training.batch_size}"
        for section, training in sections
        if training.batch_size % training.micro_batch_size
    ]


def _adapter_problems(config: Config) -> list[str]:
    model = config.model
    if model.adapter is not None or model.quantization == "none":
        return []
    plain = "set model.quantization=none"
    if model.quantization in PREQUANTIZED:
        plain = "give the unquantized original in model.path with model.quantization=none"
    return [
        f"model.quantization={model.quantization}: model.adapter=null trains every weight, and a "
        f"quantized one cannot be trained; {plain}, or keep the adapter"
    ]


def _sft_problems(config: Config, judge: Any) -> list[str]:
    sft, adapter = config.sft, config.model.adapter
    if sft.method == "none":
        return []
    problems = []
    if not sft.path and sft.ranked is None:
        problems.append(f"sft.path=[]: sft={sft.method} needs files of examples, sft.path=[FILE]")
    if sft.ranked is not None and judge is not None and judge.sft_rubric is None:
        problems.append(
            "sft.ranked: its examples teach the policy to judge by verdicts with reasons, and "
            f"{config.judge.choice.name} asks it for none; set sft.ranked=null and give examples "
            "in sft.path, or choose judge=additive, which has judge.score=sampled"
        )
    if (sft.method == "full") != (adapter is None):
        needed = "trains every weight: set model.adapter=null" if adapter else "needs model.adapter"
        problems.append(f"sft.method={sft.method}: {needed}, or choose another sft")
    return problems
