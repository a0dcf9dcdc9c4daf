"""GPTQ and AWQ checkpoints, loaded without a package of kernels.

transformers loads them with gptqmodel and its kernels alone. Here its loader is given layers of our
own (``PackedLinear``) through the extension point that it has for quantizers; everything else about
loading is its own. This module imports transformers at its top and is itself imported only when
such a checkpoint is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.quantizers.auto import (
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from iterdpo.errors import UserError
from iterdpo.models.loadable import loading
from iterdpo.models.packed_linear import PackedLinear
from iterdpo.models.prequantized import Packing

_METHOD = "iterdpo-packed"
_TENSORS = ("qweight", "qzeros", "scales", "g_idx", "bias")


def load_packed(
    path: str,
    *,
    dtype: str,
    device: str,
    attention: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """Load a checkpoint whose linear layers stay packed; all else is as of any model.

    Args:
        path: directory of a checkpoint for which ``Packing.unreadable`` is empty.
        dtype: of everything that is not packed, of the scales and of the computation.
        device: where it goes.
        attention: as transformers names it; None leaves the choice to it.
        trust_remote_code: run code that comes with the checkpoint.

    Raises:
        UserError: its tensors are not those of its architecture.
    """
    packing = Packing.at(Path(path))
    assert packing is not None
    assert not packing.unreadable
    if _METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantization_config(_METHOD)(_PackedConfig)
        register_quantizer(_METHOD)(_PackedQuantizer)
    with loading(f"model.path={path}"):
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        config.quantization_config = {
            "quant_method": _METHOD,
            "path": path,
            "layout": packing.layout,
            "group_size": packing.group_size,
        }
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            device_map={"": device},
            output_loading_info=True,
        )
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"model.path={path}: {len(missing)} tensors of its architecture are not in it, such as "
            f"{missing[0]}; the checkpoint is damaged, or packed in a way that is not read here"
        )
    # From here on it is a model like any other, whose linear layers happen to be ours.
    model.hf_quantizer.remove_quantization_config(model)
    return model


def unpack(model: Any) -> Any:
    """Replace the packed layers of ``model`` by ordinary ones of the same weights, in place."""
    packed = [(name, one) for name, one in model.named_modules() if isinstance(one, PackedLinear)]
    for name, layer in packed:
        model.set_submodule(name, layer.plain())
    return model


class _PackedConfig(QuantizationConfigMixin):
    """What the quantizer below is told, in the form that transformers asks for."""

    def __init__(self, quant_method: str, path: str, layout: str, group_size: int) -> None:
        self.quant_method: Any = quant_method
        self.path, self.layout, self.group_size = path, layout, group_size


class _PackedQuantizer(HfQuantizer):
    """Puts ``PackedLinear`` where the checkpoint has packed tensors, before they are loaded."""

    requires_calibration = False

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        told: Any = self.quantization_config
        for name, stored in packed_tensors(Path(told.path)).items():
            try:
                like = model.get_submodule(name)
            except AttributeError:
                like = None
            if not isinstance(like, torch.nn.Linear):
                raise UserError(
                    f"model.path={told.path}: {name} is packed in it and no linear layer of its "
                    "architecture; such models are not read here"
                )
            if problem := _misfit(like, stored, told.layout, told.group_size):
                raise UserError(f"model.path={told.path}: {name}: {problem}")
            empty = {
                kind: torch.empty(
                    shape,
                    dtype=like.weight.dtype if kind in ("scales", "bias") else torch.int32,
                    device="meta",
                )
                for kind, shape in stored.items()
            }
            model.set_submodule(name, PackedLinear(like, told.layout, empty))
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        told: Any = self.quantization_config
        for layer in model.modules():
            if isinstance(layer, PackedLinear) and not hasattr(layer, "g_idx"):
                size = told.group_size if told.group_size > 0 else layer.in_features
                inputs = torch.arange(layer.in_features, device=layer.qweight.device)
                layer.register_buffer("g_idx", (inputs // size).to(torch.int32))
        return model

    @property
    def is_trainable(self) -> bool:
        return True

    def is_serializable(self) -> bool:
        return False


def packed_tensors(checkpoint: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the packed layers of a checkpoint by name, each with the shapes of its tensors."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            for name in list(stored.keys()):
                shapes[name] = tuple(stored.get_slice(name).get_shape())
    layers = [name.removesuffix(".qweight") for name in shapes if name.endswith(".qweight")]
    return {
        layer: {kind: shapes[f"{layer}.{kind}"] for kind in _TENSORS if f"{layer}.{kind}" in shapes}
        for layer in layers
    }


def _misfit(
    like: torch.nn.Linear, stored: dict[str, tuple[int, ...]], layout: str, group_size: int
) -> str:
    """Return how the shapes of a layer's tensors are not what it needs; empty where they are."""
    if lacking := {"qweight", "qzeros", "scales"} - set(stored):
        return f"has no {' and no '.join(sorted(lacking))}"
    inputs, outputs, groups = like.in_features, like.out_features, stored["scales"][0]
    size = group_size if group_size > 0 else inputs
    if "g_idx" not in stored and groups != -(-inputs // size):
        # Which scale an input has, config.json alone tells: another number would go unnoticed.
        return f"{groups} groups of scales do not fit {inputs} inputs and group_size={group_size}"
    if layout == "gemm":
        fitting = [{"qweight": (inputs, outputs // 8), "qzeros": (groups, outputs // 8)}]
    else:
        fitting = [
            {"qweight": (inputs * bits // 32, outputs), "qzeros": (groups, outputs * bits // 32)}
            for bits in (4, 8)
        ]
    common = {"scales": (groups, outputs), "g_idx": (inputs,), "bias": (outputs,)}
    if any(all((shapes | common)[kind] == stored[kind] for kind in stored) for shapes in fitting):
        return ""
    said = ", ".join(f"{kind} {list(shape)}" for kind, shape in stored.items())
    return f"{inputs} inputs and {outputs} outputs do not fit {said}"
