"""What a base that comes quantized, by GPTQ or AWQ, asks of the other settings."""

from __future__ import annotations

from pathlib import Path

from iterdpo.config.schema import Config
from iterdpo.models.prequantized import PREQUANTIZED, Packing, checkpoint_problem, serving_problem


def prequantized_problems(config: Config) -> list[str]:
    """Return what is wrong with the base and its quantization, a line each.

    A checkpoint of the hub is looked at where it is first there; see ``serving_problem`` and
    ``checkpoint_problem``.
    """
    model, engine = config.model, config.engine
    problems = []
    packing = Packing.at(Path(model.path).expanduser())
    local = (Path(model.path).expanduser() / "config.json").is_file()
    if local or model.path == "lab":
        problems.append(checkpoint_problem(model.quantization, packing, model.path))
    if model.quantization not in PREQUANTIZED:
        return [problem for problem in problems if problem]
    problems.append(
        serving_problem(str(engine.choice.settings.get("backend")), model.dtype, packing)
    )
    if config.sft.method == "merged":
        problems.append(
            f"sft.method=merged: weights of {model.quantization} stay as they are packed, and no "
            "adapter can be merged into them; choose sft=qlora"
        )
    if engine.serve == "original":
        problems.append(
            f"engine.serve=original: with model.quantization={model.quantization} the checkpoint "
            "itself is what is trained on and served; leave engine.serve=dequantized"
        )
    return [problem for problem in problems if problem]
