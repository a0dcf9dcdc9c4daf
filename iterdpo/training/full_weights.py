"""Training of every weight: policy and reference are two models, and a policy is a checkpoint.

All weights are held in float32 while they are trained, whatever type the computation has: an
update below 1/256 of a bfloat16 weight would be lost, and a usual step at a learning rate of 5e-7
is far below that. That makes 20 bytes a parameter: the policy's weight, its gradient and Adam's two
moments, and the reference's weight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from iterdpo.models.checkpoint import (
    checkpoint_sha256,
    copy_all_but_weights,
    load_base,
    without_own_dropout,
)
from iterdpo.models.layout import MODEL_DIR
from iterdpo.records import Base
from iterdpo.training.checks import check_all_gradients, tensors_sha256
from iterdpo.training.spec import DpoSpec, Spec


class FullLearner:
    """Implements ``Learner`` for every weight of a model."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.model = self._load(spec.base)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        self.reference: Any | None = None
        if isinstance(spec, DpoSpec):
            self.reference = self._load(spec.reference_base or spec.base)
            for parameter in self.reference.parameters():
                parameter.requires_grad_(False)

    def begin(self) -> None:
        """Nothing is left to do: the trainer changes neither model."""

    @contextmanager
    def as_reference(self) -> Iterator[Any]:
        yield self.reference

    def reference_sha256(self) -> str | None:
        if self.reference is None:
            return None
        return tensors_sha256(dict(self.reference.named_parameters()))

    def computing(self) -> AbstractContextManager[None]:
        import torch

        if self.spec.base.dtype == "float32":
            return nullcontext()
        dtype = getattr(torch, self.spec.base.dtype)
        autocast: AbstractContextManager[None] = torch.autocast(self.model.device.type, dtype)
        return autocast

    def check_gradients(self) -> None:
        check_all_gradients(self.model, self.reference)

    def save(self, out: Path) -> dict[str, str]:
        directory = out / MODEL_DIR
        self.model.save_pretrained(directory, safe_serialization=True)
        copy_all_but_weights(Path(self.spec.base.path), directory)
        return {"weights_sha256": checkpoint_sha256(directory)}

    def _load(self, base: Base) -> Any:
        single = dataclasses.replace(base, dtype="float32")
        return without_own_dropout(
            load_base(single, self.spec.attention, self.spec.trust_remote_code)
        )
