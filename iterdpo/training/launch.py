"""Training in several processes of one machine, started by PyTorch's launcher.

``accelerate launch`` is a front of ``torch.distributed.run``, which is started here itself: the
front reads a user's own defaults (``accelerate config``), among them the type to compute in and how
weights are sharded, and starts one process where there is no GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.runtime.signals import StopRequest

TRAINING_FAILURE_FILE = "training-failure.json"
POLL_SECONDS = 0.2
STOP = b"s"
"""What the processes read from their parent when they are to stop. An end of file ends them."""

CHILD = ("-m", "iterdpo.training")
_SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


def number_of_processes(section: str, asked: int | None, gpus: int) -> int:
    """Return how many processes train together.

    Args:
        section: of the configuration, for messages.
        asked: ``processes``; None for one a GPU.
        gpus: that are visible; without any, processes train on the CPU.

    Raises:
        UserError: there are fewer GPUs, or none to count.
    """
    if asked is None and not gpus:
        raise UserError(
            f"{section}.processes=null: one process a visible GPU, and none is visible; set "
            f"{section}.processes, or {section}.process=spawn"
        )
    if asked is not None and gpus and asked > gpus:
        raise UserError(
            f"{section}.processes={asked}: each needs a GPU of its own, and {gpus} "
            f"{'is' if gpus == 1 else 'are'} visible; set at most {gpus}, or null for all"
        )
    return asked or gpus


def require_shares(section: str, batch_size: int, micro_batch_size: int, processes: int) -> None:
    """Raise ``UserError`` when a process would have no share of a step."""
    micro_batches = batch_size // micro_batch_size
    if processes > micro_batches:
        fits = batch_size // processes
        smaller = f", or {section}.micro_batch_size to at most {fits}" if fits else ""
        held = f"{micro_batches} micro batch{'es' if micro_batches > 1 else ''}"
        raise UserError(
            f"{section}.processes={processes}: a step of {section}.batch_size={batch_size} has "
            f"{held} of {section}.micro_batch_size={micro_batch_size}, so "
            f"some processes would have none; set {section}.processes to at most {micro_batches}"
            f"{smaller}"
        )


def sharding_problem(environment: Mapping[str, str]) -> str:
    """Return what is wrong with a request to shard weights, in one line; empty without one."""
    for name, what in _SHARDED.items():
        if environment.get(name, "").lower() in ("1", "true", "yes"):
            return (
                f"{name}={environment[name]}: {what} is not supported, every process holds the "
                "whole model; unset it, and where the model does not fit on one GPU, train an "
                "adapter (model.adapter) on a quantized base (model.quantization=nf4)"
            )
    return ""


def launched(arguments: list[str], out: Path, processes: int, stop: StopRequest) -> int:
    """Train in ``processes`` processes and return the launcher's status.

    The first process that fails leaves a failure file, and all are ended. A stop is passed on
    through the pipe that they have for input and not by a signal, because the launcher gives who
    was sent one 30 seconds, and a step can take longer.

    Args:
        arguments: of ``python -m iterdpo.training``.
        out: directory of the result.
        processes: 1 or more.
        stop: passed on when it is requested.
    """
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python",
        f"--nproc-per-node={processes}",
        sys.executable, *CHILD, *arguments,
    ]  # fmt: skip
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    failure, told = out / TRAINING_FAILURE_FILE, False
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    ) as child:
        assert child.stdin is not None
        while True:
            try:
                return child.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if failure.is_file() and not child.stdin.closed:
                    child.stdin.close()
                elif stop.requested and not told and not child.stdin.closed:
                    os.write(child.stdin.fileno(), STOP)  # whoever reads it tells the others
                    told = True
