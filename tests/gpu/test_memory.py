"""The estimate of a training's memory against what is really taken on a GPU.

The estimate decides whether an engine may stay on the card: too low, and training runs out of
memory beside it; far too high, and the engine is shut down for nothing.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import random_checkpoint
from iterdpo.models.memory import CUDA_CONTEXT, GIB, ModelShape, trainer_bytes
from iterdpo.records import Base
from iterdpo.store.tables import write_records
from iterdpo.training import train
from iterdpo.training.canary import choose_canary
from iterdpo.training.spec import DpoSpec, PairExample
from tests.loop.conftest import Configure
from tests.narrowing import present

pytestmark = pytest.mark.gpu

LOWEST = 0.9
"""Least estimate, as a share of the peak that was measured."""
HIGHEST = 1.5
"""Largest estimate, likewise."""
PAIRS, BATCH, MICRO = 12, 4, 2


@pytest.fixture(scope="module")
def model(device: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A random Llama of 1.5 billion parameters; on the CPU, of next to none."""
    name = "1b" if device == "cuda" else "tiny"
    dtype = "bfloat16" if device == "cuda" else "float32"
    place = tmp_path_factory.mktemp("model")
    return random_checkpoint.make_checkpoint(
        place, random_checkpoint.SHAPES[name], dtype, device
    ), dtype


@pytest.fixture
def training(
    model: tuple[Path, str], device: str, configure: Configure, tmp_path: Path
) -> Callable[..., tuple[DpoSpec, int]]:
    """A function from overrides to (what to train, the estimate without the CUDA context)."""
    checkpoint, dtype = model
    length = 1024 if device == "cuda" else 32
    shape = present(ModelShape.at(checkpoint))
    draw = random.Random(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(20, shape.vocab) for _ in range(count))

    prompts, examples = tmp_path / "prompts.txt", tmp_path / "examples.parquet"
    prompts.write_text("Say hello.\n")
    answer = length * 3 // 4
    stated = (0.0,) * answer
    rows = [
        PairExample(ids(length // 4), ids(answer), ids(answer), stated, stated)
        for _ in range(PAIRS)
    ]
    write_records(examples, PairExample, rows)

    def get(*overrides: str) -> tuple[DpoSpec, int]:
        config = configure(
            "experiment=own_model", f"model.path={checkpoint}", f"prompts.path={prompts}",
            f"model.dtype={dtype}", "model.attention=sdpa", f"training.batch_size={BATCH}",
            f"training.micro_batch_size={MICRO}", f"training.max_length={length}", *overrides,
        )  # fmt: skip
        quantization = config.model.scheme
        lora = present(config.model.adapter)
        spec = DpoSpec(
            base=Base(str(checkpoint), "0", quantization, dtype, str(checkpoint)),
            lora=lora,
            training=config.training,
            policy_adapter=None,
            reference_adapter=None,
            reference_is_start=True,
            examples=str(examples),
            seed=0,
            attention=config.model.attention,
            trust_remote_code=False,
        )
        estimate = trainer_bytes(
            shape, quantization, 2, lora.rank, MICRO, length,
            config.training.gradient_checkpointing,
        )  # fmt: skip
        return spec, estimate - CUDA_CONTEXT

    return get


class Peaks:
    """The largest allocation of each part of a training, in bytes."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.parts: dict[str, int] = {}
        _freed(device)
        self._before = self._allocated()
        self._reset()

    def lap(self, part: str) -> None:
        """Note the peak since the last lap as that of ``part``."""
        if self.device == "cuda":
            import torch

            peak = torch.cuda.max_memory_allocated() - self._before
            self.parts[part] = max(peak, self.parts.get(part, 0))
        self._reset()

    def step(self, done: int, total: int) -> None:
        """Take the place of a progress bar."""
        self.lap("first step" if done == 1 else "steps")

    def _allocated(self) -> int:
        import torch

        return int(torch.cuda.memory_allocated()) if self.device == "cuda" else 0

    def _reset(self) -> None:
        import torch

        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()


def _freed(device: str) -> int:
    """Give back what is unused, and return the bytes that are still held."""
    import torch

    gc.collect()
    if device != "cuda":
        return 0
    torch.cuda.empty_cache()
    return int(torch.cuda.memory_reserved())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_steps_take_what_was_estimated(
    training: Callable[..., tuple[DpoSpec, int]],
    device: str,
    checkpointing: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec, estimate = training(f"training.gradient_checkpointing={checkpointing}")
    peaks = Peaks(device)

    def chosen(*args: Any) -> Any:
        peaks.lap("loading")
        canary = choose_canary(*args)
        peaks.lap("canary")
        return canary

    monkeypatch.setattr(train, "choose_canary", chosen)
    report = train.train(spec, tmp_path, peaks.step)
    peaks.lap("canary")
    assert report["steps"] == PAIRS // BATCH
    if device == "cpu":
        pytest.skip("memory is measured on CUDA only")
    shown = ", ".join(f"{part} {peak / GIB:.2f}" for part, peak in peaks.parts.items())
    with capsys.disabled():
        print(f"\ncheckpointing {checkpointing}: estimated {estimate / GIB:.2f} GiB; {shown} GiB")
    peak = max(peaks.parts["first step"], peaks.parts["steps"])
    assert LOWEST * peak <= estimate <= HIGHEST * peak
    assert LOWEST * peaks.parts["loading"] <= estimate


def test_a_whole_training_gets_by_with_its_estimate(
    training: Callable[..., tuple[DpoSpec, int]], device: str, tmp_path: Path
) -> None:
    """Beside an engine that takes the rest, the canary and the checks must fit as well."""
    if device == "cpu":
        pytest.skip("memory is limited on CUDA only")
    import torch

    spec, estimate = training()
    total = torch.cuda.get_device_properties(0).total_memory
    limit = _freed(device) + estimate / LOWEST
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        report = train.train(spec, tmp_path)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert report["steps"] == PAIRS // BATCH
    assert "micro_batch_size" not in report, "pairs were trained in smaller portions than asked for"


def test_a_training_in_this_process_gives_its_memory_back(
    training: Callable[..., tuple[DpoSpec, int]], device: str, tmp_path: Path
) -> None:
    """An engine that was shut down for it starts again when it ends, and asks for the card."""
    from iterdpo.training.run import run_training

    if device == "cpu":
        pytest.skip("memory is measured on CUDA only")
    import torch

    spec, estimate = training("training.process=inline")
    before = _freed(device)
    run_training(spec, tmp_path, "M1 trains")
    held = torch.cuda.memory_reserved() - before
    assert held <= 0.1 * estimate, f"{held / GIB:.2f} GiB are held after a training"
