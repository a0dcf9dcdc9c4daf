"""LoRA adapters of random weights, strong enough to be told."""

from __future__ import annotations

from pathlib import Path

RANK = 8


def make_adapter(base: Path, place: Path, seed: int, size: float = 0.1) -> Path:
    """Write an adapter of ``base`` to ``place`` and return the directory.

    Args:
        base: a checkpoint.
        place: a directory that is made.
        seed: of the weights.
        size: their standard deviation; at 0, the adapter changes nothing.
    """
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(str(place))
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: size * torch.randn(tensor.shape, generator=generator)
        for name, tensor in get_peft_model_state_dict(model).items()
    }
    save_file(weights, place / "adapter_model.safetensors")
    return place
