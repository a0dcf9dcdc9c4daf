"""The benchmark of log-probs: both sides compute the same, and the page gets its table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments import bench_logprobs
from iterdpo.models.token_logprobs import token_logprobs


def test_both_ways_give_the_same_numbers() -> None:
    model = bench_logprobs.model_of(500)
    ids, answers = torch.randint(0, 500, (2, 9)), torch.tensor([[0] * 4 + [1] * 5] * 2)
    inputs = (model, ids, torch.ones_like(ids), answers)
    with torch.no_grad():
        whole, slices = bench_logprobs.from_all_logits(*inputs), token_logprobs(*inputs)
    assert torch.allclose(whole, slices, rtol=1e-6, atol=0)


def test_the_page_gets_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{bench_logprobs.BEGIN}\nold\n{bench_logprobs.END}\nafter\n")
    options = ["--vocabulary=2000", "--length=64", "--rounds=2", f"--page={page}"]
    monkeypatch.setattr("sys.argv", ["bench", *options])
    bench_logprobs.main()
    text = page.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "two rows of 64 tokens" in text
    assert "old" not in text
    assert text.count("\n| read") == text.count("\n| with a backward pass") == 1
