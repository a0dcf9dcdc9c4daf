"""Settings of every test: no network, no tracker, no progress bars, one checkpoint a style."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A slow machine is no failure, and a failure found once is found again.
settings.register_profile("iterdpo", deadline=None, derandomize=True)
settings.load_profile("iterdpo")

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "ITERDPO_PROGRESS": "off",
    "TOKENIZERS_PARALLELISM": "false",
}

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory):
    """A function from a style's name to the directory of its tiny random checkpoint."""
    from tests.checkpoints import make_checkpoint

    made: dict[str, Path] = {}

    def get(style: str) -> Path:
        if style not in made:
            made[style] = make_checkpoint(tmp_path_factory.mktemp(style), style)
        return made[style]

    return get
