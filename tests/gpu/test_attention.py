"""Gradients of attention where the card's own library is known to write no numbers.

With an explicit mask, a padded width of 64 more than a multiple of 128, and a row whose logsumexp
is very low, cuDNN 9.20's backward pass gives NaN on Hopper (pytorch/pytorch#196678,
huggingface/trl#7181).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.gpu

WIDTH, HEAD = 192, 128


def test_gradients_are_those_of_plain_arithmetic(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention as attention

    from iterdpo.models.hardware import switch_cudnn_attention_off

    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, 2, 4, WIDTH, HEAD, generator=generator)
    drawn[0, :, :, 40], drawn[1] = -30.0, drawn[1].abs()  # q of one row: all its logits are low
    inputs = drawn.to(device, torch.bfloat16)
    causal = torch.ones(WIDTH, WIDTH, dtype=torch.bool, device=device).tril()
    there = torch.arange(WIDTH, device=device) < torch.tensor(
        [[WIDTH], [WIDTH - 37]], device=device
    )
    mask = causal & there[:, None, None, :]

    def gradients(dtype: torch.dtype, of: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        parts = [part.to(dtype).detach().requires_grad_() for part in inputs]
        of(*parts, attn_mask=mask).float().square().sum().backward()  # type: ignore[no-untyped-call]
        return [part.grad.float() for part in parts if part.grad is not None]

    with sdpa_kernel(SDPBackend.MATH):
        expected = gradients(torch.float32, attention)
    if device == "cuda":
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            try:
                finite = all(part.isfinite().all() for part in gradients(torch.bfloat16, attention))
                known = "finite" if finite else "NaN"
            except RuntimeError as error:
                known = f"refused ({str(error).splitlines()[0]})"
        with capsys.disabled():
            print(f"\nwith cuDNN's attention gradients are {known}")
    switch_cudnn_attention_off()
    for ours, plain in zip(gradients(torch.bfloat16, attention), expected, strict=True):
        assert ours.isfinite().all()
        assert (ours - plain).norm() <= 0.03 * plain.norm()
