"""What a checkpoint may differ from its policy by, on logits written out by hand."""

from __future__ import annotations

import pytest
import torch

from iterdpo.tools.export.check import compared


def test_the_difference_is_measured_less_each_positions_mean() -> None:
    # Less their means: policy (-1, 1) and (-2, 2); written differs by (-0.1, 0.1) in the second.
    policy = [torch.tensor([[1.0, 3.0], [10.0, 14.0]])]
    written = [torch.tensor([[101.0, 103.0], [9.9, 14.1]])]
    base = [torch.tensor([[1.0, 3.0], [9.0, 15.0]])]  # off by (-1, 1) in the second
    found = compared(base, policy, written, "float32")
    # Squares: (0 + 0 + 0.01 + 0.01) / 4 over (1 + 1 + 4 + 4) / 4, and over (0 + 0 + 1 + 1) / 4.
    assert found.difference == pytest.approx((0.02 / 10) ** 0.5, rel=1e-4)
    assert found.lost == pytest.approx(0.1, rel=1e-4)
    assert (found.texts, found.tolerance) == (1, 1e-4)


@pytest.mark.parametrize(("dtype", "allowed"), [("bfloat16", 8 / 128), ("float16", 8 / 1024)])
def test_what_is_allowed_is_eight_epsilons(dtype: str, allowed: float) -> None:
    logits = [torch.tensor([[1.0, 3.0]])]
    assert compared(logits, logits, logits, dtype).tolerance == allowed


def test_an_adapter_that_changes_nothing_has_nothing_to_lose() -> None:
    logits = [torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 2.0], [5.0, 5.5]])]
    found = compared(logits, logits, logits, "float32")
    assert (found.difference, found.lost, found.texts) == (0.0, None, 2)
