from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from iterdpo.cli import execute as run
from iterdpo.cli import plan
from iterdpo.cli.plan import StageEstimate, total_of
from iterdpo.config.schema import Config
from iterdpo.errors import UserError
from iterdpo.store.hashing import sha256_of
from iterdpo.store.manifest import manifest_text
from tests.commands import run_python
from tests.loop.conftest import Configure, configure  # noqa: F401
from tests.loop.sizes import SMALL
from tests.narrowing import present

SMOKE = ("experiment=smoke", "iterations=2", *SMALL)


def planned_for(config: Config) -> list[plan.PlannedStage]:
    return [stage for _, stages in plan.plan(config) for stage in stages]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan") / "store"


@pytest.fixture(scope="module")
def planned_and_run(libraries: None, store: Path) -> tuple[Config, list[plan.PlannedStage]]:
    """What was planned over an empty store, and what the run then stored."""
    from hydra import compose, initialize_config_dir

    from iterdpo.config.compose import conf_directory, typed

    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        composed = compose(
            "config",
            overrides=[*SMOKE, "tracking=none", "engine.device=cpu", f"store.root={store}"],
        )
    config = typed(composed)
    planned = planned_for(config)
    assert not store.exists()  # planning leaves nothing behind
    run.execute(config, store.parent / "run")
    return config, planned


def test_over_an_empty_store_everything_runs_under_the_keys_it_then_has(
    planned_and_run: tuple[Config, list[plan.PlannedStage]], store: Path
) -> None:
    _, planned = planned_and_run
    assert {stage.state for stage in planned} == {"runs"}
    assert {(stage.stage, stage.key) for stage in planned} == {
        (path.parent.parent.name, path.parent.name) for path in store.glob("[!.]*/*/stage.json")
    }
    candidates = [stage for stage in planned if stage.stage == "candidates"]
    assert candidates[0].estimate == StageEstimate(
        8 * 6 * 48, at_most=True
    )  # prompts x n x longest


def test_after_the_run_everything_is_cached(
    planned_and_run: tuple[Config, list[plan.PlannedStage]],
) -> None:
    config, planned = planned_and_run
    again = planned_for(config)
    assert {stage.state for stage in again} == {"cached"}
    assert [stage.key for stage in again] == [stage.key for stage in planned]


def test_a_changed_setting_is_named_where_it_first_tells(
    planned_and_run: tuple[Config, list[plan.PlannedStage]], configure: Configure, store: Path
) -> None:
    config = configure(*SMOKE, "training.beta=0.7", f"store.root={store}")
    by_state = {stage.key: stage for stage in planned_for(config)}
    runs = [stage for stage in by_state.values() if stage.state == "runs"]
    assert runs[0].stage == "adapter"
    assert runs[0].details == ("settings.training.beta: 0.1 -> 0.7",)
    assert present(runs[0].estimate.seconds) > 0
    later = next(stage for stage in runs if stage.stage == "candidates")
    assert later.details == (f"after adapter {runs[0].key[:8]}",)
    assert 8 * 6 < present(later.estimate.tokens) < 8 * 6 * 48


def test_a_half_done_stage_says_how_far_it_is(
    planned_and_run: tuple[Config, list[plan.PlannedStage]],
    store: Path,
    tmp_path: Path,
    configure: Configure,
) -> None:
    import shutil

    shutil.copytree(store, tmp_path / "store")
    (done,) = sorted((tmp_path / "store" / "candidates").iterdir())[:1]
    parents = json.loads((done / "stage.json").read_text())["parents"]
    work = done.parent / f".work-{done.name}" / sha256_of([done.name, parents]) / "shards"
    work.mkdir(parents=True)
    (work / f"{0:08d}-{12:08d}.{'0' * 64}.parquet").write_bytes(b"x")
    shutil.rmtree(done)
    (half,) = [s for s in planned_for(configure(*SMOKE)) if s.state == "resumes"]
    assert half.key == done.name
    assert "12" in half.details[0]
    # Work of other results of its parents would not be used.
    work.parent.rename(work.parent.with_name("0" * 64))
    assert all(stage.state != "resumes" for stage in planned_for(configure(*SMOKE)))


def test_other_library_versions_are_told(
    planned_and_run: tuple[Config, list[plan.PlannedStage]],
    store: Path,
    tmp_path: Path,
    configure: Configure,
) -> None:
    import shutil

    shutil.copytree(store, tmp_path / "store")
    (path,) = (tmp_path / "store" / "base").glob("*/stage.json")
    manifest = json.loads(path.read_text())
    manifest["versions"]["torch"] = "1.0.0"
    path.write_text(manifest_text(manifest))
    base = next(stage for stage in planned_for(configure(*SMOKE)) if stage.stage == "base")
    assert base.state == "cached"
    assert "computed with torch 1.0.0, now" in base.details[0]


def test_the_command_prints_the_plan_and_leaves_no_run(
    planned_and_run: tuple[Config, list[plan.PlannedStage]], store: Path, tmp_path: Path
) -> None:
    done = run_python(
        "-m", "iterdpo", "plan=true", *SMOKE, "tracking=none", "engine.device=cpu",
        "training.beta=0.7", f"store.root={store}", check=True, cwd=tmp_path,
    )  # fmt: skip
    assert "settings.training.beta: 0.1 -> 0.7" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("53 stages: 22 cached, 31 to run; about ")
    assert not list((tmp_path / "runs").glob("*"))


def test_a_plan_is_free_of_what_libraries_advise_to_install(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def advising(*_: object) -> None:  # as bitsandbytes does where it is imported
        logging.getLogger("bitsandbytes.backends.cpu.ops").warning("pip install kernels")
        raise UserError("enough")

    monkeypatch.setattr(plan, "assemble", advising)
    logging.getLogger("bitsandbytes").setLevel(logging.NOTSET)
    with pytest.raises(UserError, match="enough"):
        planned_for(configure())
    assert caplog.messages == []


def test_estimates_add_up_as_far_as_they_are_known() -> None:
    stages = [
        plan.PlannedStage("a", "1", "runs", (), StageEstimate(1200, False, 2.0, 500_000)),
        plan.PlannedStage("b", "2", "runs", (), StageEstimate(None, False, 3.4, 1_500_000)),
        plan.PlannedStage("c", "3", "cached"),
    ]
    assert str(total_of(stages)) == "about 1,200 tokens, 5 s, 2.0 MB"
    assert str(StageEstimate(7, at_most=True)) == "at most 7 tokens"
