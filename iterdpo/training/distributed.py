"""The processes that train together: each holds every weight and computes its share of a step.

All of them read the same micro batches in the same order, as one process would. Process ``k`` of
``N`` computes the micro batches ``k``, ``k + N``, ... of a step, weighted by their shares of the
*whole* step, and the gradients are added up once a step. So the terms of the sum are those of a
single process, in another order of addition; no sampler pads, and none is dropped or counted twice.

The libraries see a process that trains by itself: what a launcher tells in the environment is taken
from there, so neither accelerate nor transformers wraps the model or divides by a number of
processes. Nothing is exchanged within a micro batch, which each process can repeat in smaller parts
by itself when its memory runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from iterdpo.errors import LineageError, UserError
from iterdpo.models.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")

_TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_DEVICES = "CUDA_VISIBLE_DEVICES"
_BUCKET = 1 << 25
"""Elements of a sum that travels at once: 128 MiB of float32."""
# Who waits is ended with the others when one fails; a slow step is no failure.
_PATIENCE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process's place among those that train together; ``ProcessGroup()`` trains alone."""

    rank: int = 0
    """From 0; the first process alone writes files and shows progress."""
    size: int = 1

    @classmethod
    def here(cls) -> ProcessGroup:
        """Return the place that ``joined`` has given this process."""
        import torch.distributed as dist

        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    def owns_micro_batch(self, index: int) -> bool:
        """Say whether this process computes micro batch ``index`` of a step."""
        return index % self.size == self.rank

    def gather(self, value: Value) -> list[Value]:
        """Return what every process gives here, by rank; all of them must come here.

        Raises:
            UserError: another process is gone.
        """
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        with _connected():
            dist.all_gather_object(values, value)
        return values

    def from_main_process(self, make: Callable[[], Value]) -> Value:
        """Have the first process alone call ``make``, and return in all what it made there."""
        value: Value = self.gather(make() if self.is_main_process else None)[0]  # type: ignore[assignment]
        return value

    def assert_equal_across_ranks(self, what: str, value: object) -> None:
        """Check that every process has the same value.

        Raises:
            LineageError: naming ``what`` differs.
        """
        values = self.gather(value)
        if others := [rank for rank, theirs in enumerate(values) if theirs != values[0]]:
            raise LineageError(
                f"{what} of training process {others[0]} differs from that of process 0: "
                f"the {self.size} processes no longer train the same model"
            )

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Put the sum over all processes in the place of every gradient.

        A gradient that no process has stays missing, so that a check can see that it is.
        """
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        weights = list(parameters)
        has = self.gather([weight.grad is not None for weight in weights])
        moved = [weight for weight, ranks in zip(weights, zip(*has, strict=True), strict=True)
                 if any(ranks)]  # fmt: skip
        for weight in moved:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        for bucket in _buckets([weight.grad for weight in moved if weight.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            with _connected():
                dist.all_reduce(flat)
            start = 0
            for gradient in bucket:
                end = start + gradient.numel()
                gradient.copy_(flat[start:end].view_as(gradient))
                start = end


@contextmanager
def joined(environment: MutableMapping[str, str]) -> Iterator[ProcessGroup]:
    """Join the processes that a launcher has started, for the block.

    To be entered before PyTorch is imported: the process sees one GPU, the one of its rank.

    Args:
        environment: of this process, from which the launcher's notes are taken.
    """
    if "WORLD_SIZE" not in environment:
        yield ProcessGroup()
        return
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    devices = environment.get(_DEVICES)
    if devices is None:
        environment[_DEVICES] = str(rank)
    elif devices.strip():
        environment[_DEVICES] = devices.split(",")[rank].strip()
    import torch
    import torch.distributed as dist

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    for name in _TOLD:
        environment.pop(name, None)
    try:
        yield ProcessGroup(rank, size)
    finally:
        dist.destroy_process_group()


@contextmanager
def _connected() -> Iterator[None]:
    """Say in one line that another process is gone, as far as the connection tells."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:120]
        raise UserError(
            f"another training process was ended ({said}), perhaps by the kernel, as it ends what "
            "takes too much memory: run the same command again, and it resumes from the last "
            "checkpoint where training keeps any"
        ) from error


def _buckets(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield tensors in turn, as many of one type and device together as a bucket holds."""
    bucket: list[torch.Tensor] = []
    filled = 0
    for tensor in tensors:
        other = bucket and (tensor.dtype, tensor.device) != (bucket[0].dtype, bucket[0].device)
        if bucket and (other or filled + tensor.numel() > _BUCKET):
            yield bucket
            bucket, filled = [], 0
        bucket.append(tensor)
        filled += tensor.numel()
    if bucket:
        yield bucket
