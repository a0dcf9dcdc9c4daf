"""Whether the run's trainings fit the GPU, before anything is computed: an estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from iterdpo.assemble.checkpoint import resolve_checkpoint
from iterdpo.assemble.hardware import trainings
from iterdpo.config.schema import Config
from iterdpo.config.training import OptimizerConfig
from iterdpo.engines.placement import Sizes, card_bytes
from iterdpo.errors import UserError
from iterdpo.models.memory import RESERVE_PERCENT
from iterdpo.runtime.formatting import memory_size

_LENGTH_STEP = 256
"""Tokens between the lengths that are tried."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A training as it is asked for, or as it could be."""

    sizes: Sizes
    section: str
    training: OptimizerConfig
    changed: tuple[str, ...] = ()
    """Settings that are not as they were asked for."""

    @property
    def needed(self) -> int:
        """Bytes at the peak."""
        return self.sizes.training(self.training)

    def but(self, **settings: Any) -> _Asked:
        """Return the same with other settings of its section."""
        said = (f"{self.section}.{name}={value}".lower() for name, value in settings.items())
        return replace(
            self,
            training=replace(self.training, **settings),
            changed=(*self.changed, *said),
        )


def require_memory(config: Config) -> None:
    """Raise ``UserError`` when a training needs more of the GPU than there is, by the estimate.

    Nothing is said of a CPU, nor of a model that the estimate does not know.

    Args:
        config: the typed configuration, with its type chosen.
    """
    import torch

    if not torch.cuda.is_available():  # as the trainer decides
        return
    sizes = Sizes.of(config.model, resolve_checkpoint(config.model))
    if sizes is None:
        return
    card = card_bytes()
    room = card * (100 - RESERVE_PERCENT) // 100
    for section, training in trainings(config).items():
        asked = _Asked(sizes, section, training)
        if asked.needed > room:
            raise UserError(_problem(asked, card, room))


def _problem(asked: _Asked, card: int, room: int) -> str:
    section, given = asked.section, asked.training.memory_gib
    has = f"the GPU has {memory_size(card)}, of which {memory_size(room)} can be used"
    if given is not None:
        return f"{section}.memory_gib={given:g}: {has}; say less, or null for the estimate"
    found = " or ".join(
        f"{' '.join(way.changed)} ({memory_size(way.needed)})" for way in _ways(asked, room)
    )
    return (
        f"{section}: needs {memory_size(asked.needed)} by the estimate, and {has}; "
        f"{f'set {found}' if found else 'take a smaller model or a larger GPU'}; "
        f"where you know better, {section}.memory_gib=N takes the estimate's place"
    )


def _ways(asked: _Asked, room: int) -> list[_Asked]:
    """Return what would fit: each setting that is enough alone, else as many as it takes."""

    def fitting(change: Callable[[_Asked], Iterator[_Asked]], before: _Asked) -> _Asked | None:
        return next((way for way in change(before) if way.needed <= room), None)

    if alone := [way for change in _CHANGES if (way := fitting(change, asked))]:
        return alone
    for change in _CHANGES:
        if way := fitting(change, asked):
            return [way]
        asked = [asked, *change(asked)][-1]
    return []


def _checkpointed(asked: _Asked) -> Iterator[_Asked]:
    if not asked.training.gradient_checkpointing:
        yield asked.but(gradient_checkpointing=True)


def _smaller(asked: _Asked) -> Iterator[_Asked]:
    training = asked.training
    for size in reversed(range(1, training.micro_batch_size)):
        if training.batch_size % size == 0:
            yield asked.but(micro_batch_size=size)


def _quantized(asked: _Asked) -> Iterator[_Asked]:
    model = asked.sizes.model
    if model.adapter is not None and model.quantization in ("none", "int8"):
        sizes = replace(asked.sizes, model=replace(model, quantization="nf4"))
        yield replace(asked, sizes=sizes, changed=(*asked.changed, "model.quantization=nf4"))


def _shorter(asked: _Asked) -> Iterator[_Asked]:
    below = asked.sizes.length(asked.training) - 1
    for length in range(below // _LENGTH_STEP * _LENGTH_STEP, 0, -_LENGTH_STEP):
        yield asked.but(max_length=length)


_CHANGES = _checkpointed, _smaller, _quantized, _shorter
"""Ways to less memory, the cheapest first; each yields what changes least first."""
