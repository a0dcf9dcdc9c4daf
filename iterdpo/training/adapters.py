"""The two adapters of a training: the policy that learns and the reference that does not.

A supervised fine-tuning has the first alone.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from iterdpo.errors import LineageError, UserError
from iterdpo.models.checkpoint import load_base, without_own_dropout
from iterdpo.models.layout import ADAPTER_CONFIG, ADAPTER_DIR, ADAPTER_WEIGHTS
from iterdpo.models.loading import differing_adapter_keys
from iterdpo.store.hashing import file_sha256
from iterdpo.training.checks import (
    POLICY,
    REFERENCE,
    active_adapter,
    adapter_sha256,
    check_adapter_gradients,
)
from iterdpo.training.spec import DpoSpec, Spec


class AdapterLearner:
    """Implements ``Learner`` for an adapter on a frozen base, which the reference shares."""

    reference = None

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.model = load_policy(spec)
        self._start = {
            name: parameter.data.clone()
            for name, parameter in self.model.named_parameters()
            if f".{POLICY}." in name
        }

    def begin(self) -> None:
        restore_policy(self.model, self.spec, self._start)
        self._start.clear()
        if isinstance(self.spec, DpoSpec):
            set_reference(self.model, self.spec)
            if self.spec.reference_is_start:
                self._check_reference_is_start()

    def _check_reference_is_start(self) -> None:
        """Compare weights, which are the same to the bit where log-probs in half types may not be.

        Raises:
            LineageError: the reference was to be the start, and is not.
        """
        if adapter_sha256(self.model, POLICY) != adapter_sha256(self.model, REFERENCE):
            raise LineageError("the policy was to start as its reference, and their weights differ")

    def as_reference(self) -> AbstractContextManager[Any]:
        return active_adapter(self.model, REFERENCE)

    def reference_sha256(self) -> str | None:
        if not isinstance(self.spec, DpoSpec):
            return None
        return adapter_sha256(self.model, REFERENCE)

    def computing(self) -> AbstractContextManager[None]:
        return nullcontext()  # the base is held in the type that it computes in

    def check_gradients(self) -> None:
        check_adapter_gradients(self.model)

    def save(self, out: Path) -> dict[str, str]:
        save_policy(self.model, out / ADAPTER_DIR, self.spec)
        return {"adapter_sha256": file_sha256(out / ADAPTER_DIR / ADAPTER_WEIGHTS)}


def load_policy(spec: Spec) -> Any:
    """Return a fresh quantized base with the policy's adapter, trainable.

    The adapter is a copy of ``spec.policy_adapter``, or a new one whose update is zero.

    Raises:
        UserError: the model has no module of those that are to be adapted.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    assert spec.lora is not None
    base = without_own_dropout(load_base(spec.base, spec.attention, spec.trust_remote_code))
    if spec.policy_adapter is not None:
        model = PeftModel.from_pretrained(
            base, spec.policy_adapter, adapter_name=POLICY, is_trainable=True
        )
    else:
        targets = spec.lora.target_modules
        recipe = LoraConfig(
            r=spec.lora.rank,
            lora_alpha=spec.lora.alpha,
            lora_dropout=spec.lora.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )
        try:
            model = get_peft_model(base, recipe, adapter_name=POLICY)
        except (ValueError, re.error) as error:  # PEFT takes a name as a regular expression
            said = " ".join(str(error).split())
            raise UserError(
                f"model.adapter.target_modules={targets}: the adapter does not go onto "
                f"{spec.base.path} ({said}); name modules that the model has, or all-linear"
            ) from None
    return model.train()


def restore_policy(model: Any, spec: Spec, weights: Mapping[str, Any]) -> None:
    """Undo the trainer's cast of the policy's adapter to bfloat16.

    TRL casts the trainable adapter of a quantized model and leaves the reference, which it copied
    before, in float32: the two would differ at step 0.

    Args:
        model: after the trainer was made.
        spec: of the training.
        weights: the adapter's, by parameter, from before.

    Raises:
        LineageError: the adapter is not the one that training was to start from.
    """
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.data = weights[name].clone()
    if spec.policy_adapter is None:
        return
    if differing := differing_adapter_keys(model, POLICY, spec.policy_adapter):
        raise LineageError(
            f"training was to start from {spec.policy_adapter} but {len(differing)} tensors "
            f"differ, first {differing[0]}"
        )


def set_reference(model: Any, spec: DpoSpec) -> None:
    """Make the reference what ``spec`` names: an adapter, the bare base, or the start itself.

    Raises:
        LineageError: the reference adapter's file did not load.
    """
    if spec.reference_is_start:
        return
    if spec.reference_adapter is None:
        for name, parameter in model.named_parameters():
            if f"lora_B.{REFERENCE}." in name:
                parameter.data.zero_()
        return
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(Path(spec.reference_adapter) / ADAPTER_WEIGHTS)
    set_peft_model_state_dict(model, weights, adapter_name=REFERENCE)
    if differing := differing_adapter_keys(model, REFERENCE, spec.reference_adapter):
        raise LineageError(
            f"the reference {spec.reference_adapter} did not load: {len(differing)} tensors "
            f"differ, first {differing[0]}"
        )


def save_policy(model: Any, directory: Path, spec: Spec) -> None:
    """Write the policy's adapter alone, in PEFT's layout, the same bytes for the same weights."""
    model.save_pretrained(directory, selected_adapters=[POLICY], safe_serialization=True)
    for extra in directory.iterdir():
        if extra.name not in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
            shutil.rmtree(extra) if extra.is_dir() else extra.unlink()
    config = directory / ADAPTER_CONFIG
    values = json.loads(config.read_text("utf-8"))
    values |= {"base_model_name_or_path": spec.base.path, "inference_mode": True}
    # PEFT stores sets, whose order changes from one process to the next.
    if isinstance(values.get("target_modules"), list):
        values["target_modules"] = sorted(values["target_modules"])
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")
