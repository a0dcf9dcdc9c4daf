"""Whole runs, small: configurations by overrides, a store and a run directory of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config

Configure = Callable[..., Config]


@pytest.fixture(scope="session", autouse=True)
def loaded(libraries: None) -> None:
    """Every test here trains."""


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """A function from overrides to a configuration that writes below ``tmp_path`` only."""

    def get(*overrides: str, store: str = "store") -> Config:
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            composed = compose(
                "config",
                overrides=[
                    f"store.root={tmp_path / store}", "tracking=none", "engine.device=cpu",
                    "report=false",
                    *overrides,
                ],
            )  # fmt: skip
        return typed(composed)

    return get
