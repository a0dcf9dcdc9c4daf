"""A run directory that is used again, by the same run or by another."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from iterdpo.cli import execute as run
from iterdpo.config.schema import Config
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import UserError
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.summary_file import SUMMARY_FILE, read_summary
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy
from iterdpo.runs import execute as runs
from iterdpo.runs.directory import Run
from iterdpo.runs.earlier import set_others_aside
from iterdpo.runtime.signals import StopRequest
from iterdpo.store.inventory import read_store
from iterdpo.tools.store.garbage import find_garbage
from tests.checkpoints import CheckpointOf
from tests.made_run import answer, choose, config_of


def engine() -> ScriptedEngine:
    return ScriptedEngine(answer=answer, choose=choose, vocabulary=200)


@pytest.fixture(scope="module")
def made(
    libraries: None, checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run and its store; look, but change nothing in it."""
    place = tmp_path_factory.mktemp("made")
    run.execute(config_of(place, checkpoint_of("llama")), place / "run", engine())
    return place


class Stopping(StopRequest):
    """Stops a run when it has asked for so many stages."""

    def __init__(self, stages: int) -> None:
        super().__init__()
        self._left = stages

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise UserError("stopped")


def garbage_of(config: Config) -> list[str]:
    return [str(item.path) for item in find_garbage(read_store(config.store.root)).garbage]


def but_for_the_clock(summary: Summary) -> dict[str, Any]:
    return asdict(replace(summary, run=replace(summary.run, wall_seconds=0.0)))


@pytest.mark.parametrize("stages", [0, 1, 12])
def test_a_finished_run_that_is_started_again_and_stopped_loses_nothing(
    made: Path, checkpoint_of: CheckpointOf, stages: int
) -> None:
    config = config_of(made, checkpoint_of("llama"))
    before = read_summary(made / "run")
    with pytest.raises(UserError, match="stopped"):
        run.execute(config, made / "run", engine(), Stopping(stages))
    assert garbage_of(config) == []
    assert read_summary(made / "run") == before
    assert Run.open(made / "run").policy().name == "M2"


def test_a_finished_run_that_is_replayed_says_what_it_said(
    made: Path, checkpoint_of: CheckpointOf
) -> None:
    before = read_summary(made / "run")
    assert before.canaries
    assert before.iterations[0].generated_tokens_new > 0
    assert before.run.engine.usage.generated_tokens > 0
    unused = engine()
    unused.starts = 0  # a model is loaded when it is first asked
    again = run.execute(config_of(made, checkpoint_of("llama")), made / "run", unused)
    assert unused.calls == []
    assert but_for_the_clock(again) == but_for_the_clock(before)
    assert read_summary(made / "run") == again


def test_a_run_of_another_configuration_sets_aside_what_the_first_left_and_takes_none_of_it(
    made: Path, checkpoint_of: CheckpointOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(made / "store", tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / ".runs")
    config = config_of(tmp_path, checkpoint_of("llama"))
    place = tmp_path / "run"
    run.execute(config, place, engine())
    before = read_summary(place)
    other = config_of(tmp_path, checkpoint_of("llama"), "seed=1", "iterations=1")
    with pytest.raises(UserError, match="stopped"):
        run.execute(other, place, engine(), Stopping(1))
    assert not (place / SUMMARY_FILE).exists()
    line = f"{place}: held a run of another configuration (iterations, seed), which is now in "
    assert line + "earlier-1; name a directory for each, hydra.run.dir=DIR" in caplog.messages
    assert read_summary(place / "earlier-1") == before
    assert Run.open(place / "earlier-1").policy().name == "M2"
    assert garbage_of(config) == []
    run.execute(config, place, engine(), Stopping(100))  # the first one once more
    assert json.loads((place / "earlier-2" / "config.json").read_text())["seed"] == 1
    assert [model.fingerprint for model in read_summary(place).models] == [
        model.fingerprint for model in before.models
    ]
    assert garbage_of(config) == []


def test_a_summary_of_other_policies_is_replaced_at_once(
    made: Path, checkpoint_of: CheckpointOf, tmp_path: Path
) -> None:
    def other(request: Request, policy: Policy, sample: int) -> str:
        return f"{answer(request, policy, sample)} anew"

    shutil.copytree(made / "run", tmp_path / "run", symlinks=True)
    config = config_of(tmp_path, checkpoint_of("llama"))  # another store, and so another run
    anew = ScriptedEngine(answer=other, choose=choose, vocabulary=200)
    seen: list[int] = []

    def look(summary: Summary) -> None:
        seen.append(len(read_summary(tmp_path / "run").models))

    runs.execute(config, tmp_path / "run", anew, None, look)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ({"a": {"b": 1}}, None),
        ({"a": {"b": 1}, "c": 2}, "c"),
        ({"a": {"b": 2, "x": 0, "y": 0, "z": 0}}, "a.b, a.x, a.y, 1 more"),
        ("{", "a config.json that is not JSON"),
        ("[" * 100_000, "a config.json that is not JSON"),
        ([], ", a.b"),
    ],
)
def test_another_configuration_is_named_by_the_keys_that_differ(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, before: Any, named: str | None
) -> None:
    text = before if isinstance(before, str) else json.dumps(before)
    (tmp_path / "config.json").write_text(text)
    set_others_aside(tmp_path, {"a": {"b": 1}})
    if named is None:
        assert (caplog.messages, [path.name for path in tmp_path.iterdir()]) == (
            [],
            ["config.json"],
        )
    else:
        assert f"another configuration ({named}), which" in caplog.text
        assert (tmp_path / "earlier-1" / "config.json").read_text() == text


@pytest.mark.parametrize(
    "place",
    ["run", "run/config.json", "run/stages", "store", "store/.runs", "store/.locks",
     "store/candidates"],
)  # fmt: skip
def test_what_lies_in_the_place_of_a_directory_of_a_run_or_store_is_a_line(
    made: Path, checkpoint_of: CheckpointOf, tmp_path: Path, place: str
) -> None:
    for name in ("run", "store"):
        shutil.copytree(made / name, tmp_path / name, symlinks=True)
    shutil.rmtree(tmp_path / "store" / "candidates")  # something is left to do
    at = tmp_path / place
    if at.is_file():
        at.unlink()
        at.mkdir()
    else:
        shutil.rmtree(at, ignore_errors=True)
        at.write_text("in the way")
    if place == "run/stages":  # a file would be moved to the run before
        at.unlink()
        at.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=rf"^{at}.*(move it away|see that its directory)") as said:
        run.execute(config_of(tmp_path, checkpoint_of("llama")), tmp_path / "run", engine())
    assert "\n" not in str(said.value)
