"""A linear layer whose weights stay packed, as GPTQ and AWQ checkpoints store them.

Plain torch, so that the same arithmetic runs on every device and is the same in training and in
the transformers engine. The weight is unpacked for every use: slower than a fused kernel, and the
layer takes 4 or 8 bits a weight all the same.

This module imports torch at its top and is itself imported only when such a checkpoint is loaded.
"""

from __future__ import annotations

from typing import Any

import torch

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of 8 neighboring outputs lies in each of a word's eight places, from the lowest bits."""


def unpacked(words: torch.Tensor, bits: int, dim: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the numbers in ``words``, which lie side by side along ``dim``, lowest bits first.

    Args:
        words: two dimensions, int32.
        bits: of a number; 32 is a multiple of it.
        dim: along which one word becomes ``32 / bits`` numbers.
        dtype: of the result; ``bits`` up to 8 are exact in each floating-point type.

    Returns:
        Numbers from 0 to ``2**bits - 1``, unsigned.
    """
    count = 32 // bits
    shape = list(words.shape)
    shape[dim] *= count
    numbers = torch.empty(shape, dtype=dtype, device=words.device)
    for place in range(count):  # one place at a time: the largest layers have 10**8 weights
        target = numbers[place::count] if dim == 0 else numbers[:, place::count]
        target.copy_((words >> (bits * place)) & (2**bits - 1))
    return numbers


def gptq_weight(
    qweight: torch.Tensor,
    qzeros: torch.Tensor,
    scales: torch.Tensor,
    groups: torch.Tensor,
    zeros_less_one: bool,
) -> torch.Tensor:
    """Return ``(outputs, inputs)`` weights of a GPTQ layer: ``scale * (number - zero)``.

    Args:
        qweight: ``(inputs * bits / 32, outputs)`` int32, packed along the inputs.
        qzeros: ``(groups, outputs * bits / 32)`` int32, packed along the outputs.
        scales: ``(groups, outputs)``, of the type to compute in.
        groups: ``(inputs,)`` the group of each input (``g_idx``).
        zeros_less_one: zero points are stored less 1, modulo ``2**bits``: the first layout.
    """
    bits = 32 * qweight.shape[0] // groups.shape[0]
    zeros = unpacked(qzeros, bits, 1, torch.int32)
    if zeros_less_one:
        zeros = (zeros + 1) & (2**bits - 1)
    return _scaled(unpacked(qweight, bits, 0, scales.dtype), zeros, scales, groups)


def awq_weight(
    qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor, groups: torch.Tensor
) -> torch.Tensor:
    """Return ``(outputs, inputs)`` weights of an AWQ layer of 4 bits: ``scale * (number - zero)``.

    Args:
        qweight: ``(inputs, outputs / 8)`` int32, packed along the outputs in ``AWQ_ORDER``.
        qzeros: ``(groups, outputs / 8)`` int32, packed likewise.
        scales: ``(groups, outputs)``, of the type to compute in.
        groups: ``(inputs,)`` the group of each input.
    """
    # The place at which each of 8 neighbors lies: the inverse of the order.
    places = sorted(range(8), key=AWQ_ORDER.__getitem__)
    numbers, zeros = (
        unpacked(words, 4, 1, dtype).view(words.shape[0], -1, 8)[:, :, places].flatten(1)
        for words, dtype in ((qweight, scales.dtype), (qzeros, torch.int32))
    )
    return _scaled(numbers, zeros, scales, groups)


def _scaled(
    numbers: torch.Tensor, zeros: torch.Tensor, scales: torch.Tensor, groups: torch.Tensor
) -> torch.Tensor:
    """Turn ``(inputs, outputs)`` numbers into weights, in place; each is rounded once at most."""
    numbers -= zeros.to(numbers.dtype)[groups]
    numbers *= scales[groups]
    return numbers.T


class PackedLinear(torch.nn.Linear):
    """A frozen ``Linear`` that is never held unpacked; gradients go through it to its input.

    It is a ``Linear`` so that PEFT takes it for one. ``weight`` is computed when it is read, in the
    type of ``scales``.
    """

    qweight: torch.Tensor
    qzeros: torch.Tensor
    scales: torch.Tensor
    g_idx: torch.Tensor

    def __init__(
        self, like: torch.nn.Linear, layout: str, tensors: dict[str, torch.Tensor]
    ) -> None:
        """Stand in for ``like``.

        Args:
            like: what the architecture has there.
            layout: ``gptq``, ``gptq_v2`` or ``gemm``; see ``prequantized.Packing``.
            tensors: empty ones, by name, of the checkpoint's shapes: ``qweight``, ``qzeros``,
                ``scales``, ``g_idx`` and, where there is one, ``bias``.
        """
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = like.in_features, like.out_features
        self.layout = layout
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        if "bias" not in tensors:
            self.register_buffer("bias", None)
        # Nothing of it is to be drawn at random by whoever initializes linear layers.
        self._is_hf_initialized = True

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The ``(outputs, inputs)`` weights, unpacked."""
        packed = self.qweight, self.qzeros, self.scales, self.g_idx
        if self.layout == "gemm":
            return awq_weight(*packed)
        return gptq_weight(*packed, zeros_less_one=self.layout == "gptq")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = _Product.apply(input, self)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias

    def plain(self) -> torch.nn.Linear:
        """Return an ordinary, frozen layer of the same weights."""
        with torch.device("meta"):
            layer = torch.nn.Linear(self.in_features, self.out_features, self.bias is not None)
        layer.weight = torch.nn.Parameter(self.weight.contiguous(), requires_grad=False)
        if self.bias is not None:
            layer.bias = torch.nn.Parameter(self.bias, requires_grad=False)
        return layer


class _Product(torch.autograd.Function):
    """``input @ weight.T`` that unpacks the weight again for the backward pass.

    Autograd would otherwise keep every layer's unpacked weight from the forward pass on.
    """

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, layer: PackedLinear) -> torch.Tensor:
        ctx.layer = layer
        return input @ layer.weight.T

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] @ ctx.layer.weight, None
