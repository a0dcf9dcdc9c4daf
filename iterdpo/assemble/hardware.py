"""The configuration as this machine runs it: nothing is left to be chosen."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

from iterdpo.config.schema import Config
from iterdpo.config.training import OptimizerConfig
from iterdpo.errors import UserError
from iterdpo.models.accelerators import (
    require_device,
    require_supported,
    unused_accelerator,
)
from iterdpo.models.hardware import (
    Hardware,
    choose_attention,
    choose_dtype,
    installed,
    launcher_problem,
    optimizer_problem,
)
from iterdpo.models.prequantized import PREQUANTIZED
from iterdpo.training.launch import number_of_processes, require_shares, sharding_problem

log = logging.getLogger(__name__)


def resolved(config: Config) -> Config:
    """Return ``config`` with ``model.dtype`` and ``model.attention`` chosen: keys hold the choice.

    Raises:
        UserError: the program was started in a way that it cannot run in.
    """
    if problem := launcher_problem(os.environ):
        raise UserError(problem)
    require_supported()
    hardware = look(config.engine.device)
    dtype = choose_dtype(config.model.dtype, hardware.capability)
    attention = choose_attention(config.model.attention, dtype, hardware)
    return replace(config, model=replace(config.model, dtype=dtype, attention=attention))


def require_optimizers(config: Config) -> None:
    """Raise ``UserError`` when this machine cannot train with an optimizer that is asked for.

    Apart from ``resolved``, because whoever only answers or judges trains nothing: what a run on a
    GPU has made can be asked on a machine that could not have made it.
    """
    hardware = look(config.engine.device)
    for section, training in trainings(config).items():
        setting = f"{section}.optimizer"
        if problem := optimizer_problem(training.optimizer, setting, _known_optimizers(), hardware):
            raise UserError(problem)


def say_unused_accelerator(config: Config) -> None:
    """Say in a line which GPU of this machine is left idle, and why."""
    if line := unused_accelerator(config.engine.device):
        log.warning("%s", line)


def trainings(config: Config) -> dict[str, OptimizerConfig]:
    """Return the trainings of a run by section, such as ``training``."""
    found: dict[str, OptimizerConfig] = {"training": config.training}
    if config.sft.method != "none":
        found["sft"] = config.sft
    return found


def experimental(config: Config) -> list[str]:
    """Return what a configuration asks for that no GPU has run yet, a line each."""
    found = []
    if config.model.quantization in PREQUANTIZED:
        found.append(
            f"model.quantization={config.model.quantization}, experimental: training on packed "
            "weights was tried on CPUs alone (docs/decisions/0015)"
        )
    if shared := _shared(config):
        settings = " and ".join(f"{section}.process=launch" for section in shared)
        found.append(
            f"{settings}, experimental: training in several processes was tried with two on a CPU, "
            "never on several GPUs"
        )
    return found


def require_processes(config: Config) -> None:
    """Raise ``UserError`` when training cannot be shared by the processes that are asked for."""
    shared = _shared(config)
    if not shared:
        return
    import torch

    if problem := sharding_problem(os.environ):
        raise UserError(problem)
    for section, training in shared.items():
        number = number_of_processes(section, training.processes, torch.cuda.device_count())
        require_shares(section, training.batch_size, training.micro_batch_size, number)


def look(device: str) -> Hardware:
    """Return what the machine has, for a run whose ``engine.device`` is ``device``.

    Raises:
        UserError: the device is not there.
    """
    import torch

    require_device("engine.device", device)
    cuda = device != "cpu" and torch.cuda.is_available()
    return Hardware(
        capability=torch.cuda.get_device_capability() if cuda else None,
        flash_attention=installed("flash_attn"),
        bitsandbytes=installed("bitsandbytes"),
    )


def _shared(config: Config) -> dict[str, OptimizerConfig]:
    """Return the trainings that several processes are to share, by section."""
    found = trainings(config).items()
    return {section: training for section, training in found if training.process == "launch"}


def _known_optimizers() -> frozenset[str]:
    from transformers.training_args import OptimizerNames

    return frozenset(name.value for name in OptimizerNames)
