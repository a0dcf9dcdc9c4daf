"""What this machine cannot do is said, or refused, when a run is put together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from iterdpo.assemble import assemble
from iterdpo.cli.plan import plan
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.errors import UserError
from iterdpo.models import accelerators
from iterdpo.models.accelerators import NvidiaCard


def config_of(*overrides: str) -> Config:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", ["tracking=none", *overrides]))


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(accelerators, "nvidia_card", lambda: NvidiaCard("535.183.01"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


@pytest.mark.usefixtures("old_driver")
@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize(("device", "lines"), [("auto", 1), ("cpu", 0)])
def test_a_run_and_its_plan_begin_with_the_gpu_that_stays_idle(
    planned: bool, device: str, lines: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(f"engine.device={device}", f"store.root={tmp_path / 'store'}")
    if planned:
        next(plan(config))
    else:
        assemble(config, tmp_path)
    said = [item.getMessage() for item in caplog.records if "NVIDIA driver" in item.getMessage()]
    assert len(said) == lines
    assert all("535.183.01 is too old" in line and "580 or newer" in line for line in said)


def test_amd_s_gpu_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", "7.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match="AMD GPUs are not supported"):
        assemble(config_of(), tmp_path)
