"""A stand-in for the Hub that huggingface_hub talks to, and a run to be changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iterdpo.config.hub import HubConfig
from iterdpo.runs.directory import Run
from tests.tools.hub.standin import TOKEN, StandIn, standing_in

Asked = Callable[..., HubConfig]
Changed = Callable[..., Run]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in, logged in to, over plain LFS and without the waits between tries."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with standing_in() as server:
        yield server


@pytest.fixture
def asked(hub: StandIn) -> Asked:
    """A function from changes to what is to be shared of a run."""

    def make(**changes: Any) -> HubConfig:
        usual: dict[str, Any] = {
            "push": True,
            "repo": "me/tiny",
            "private": True,
            "models": "last",
            "pairs": True,
        }
        return HubConfig(**{**usual, "endpoint": hub.url, **changes})

    return make


@pytest.fixture
def changed(finished_run: Path, tmp_path: Path) -> Changed:
    """A function from changes of configuration and summary to a run that has them."""

    def make(config: Any = (), summary: Any = ()) -> Run:
        place = tmp_path / "changed"
        shutil.copytree(finished_run, place, symlinks=True)
        _change(place / "config.json", dict(config))
        _change(place / "summary.json", dict(summary))
        return Run.open(place)

    return make


def _change(path: Path, changes: dict[str, Any]) -> None:
    values = json.loads(path.read_text())
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[name] = value
    path.write_text(json.dumps(values))
