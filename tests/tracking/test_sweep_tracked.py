"""Two jobs of a sweep, tracked offline in one process: the files hold what the runs do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from iterdpo.evaluation.summary_file import read_summary
from iterdpo.store.hashing import file_sha256
from iterdpo.tracking.metrics import metrics, without_prompts
from iterdpo.tracking.run_id import RUN_ID_FILE
from tests.commands import run_python
from tests.tracking.offline import OfflineRun

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Job:
    run_dir: Path
    written: OfflineRun

    def json(self, name: str) -> Any:
        return json.loads((self.run_dir / name).read_text("utf-8"))

    def stage(self, name: str) -> Path:
        (link,) = (self.run_dir / "stages").glob(f"*-{name}-*")
        return link


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tracked") / "a sweep"
    command = [
        "-m", "iterdpo", "-m", "experiment=smoke", "iterations=1", "seed=0,1",
        "prompts.per_iteration=12", "tracking=wandb", "tracking.mode=offline",
        "tracking.samples=3", "tracking.tags=[mine]",
        "engine.device=cpu", f"store.root={place.parent / 'store'}",
        f"hydra.sweep.dir='{place}'",
    ]  # fmt: skip
    done = run_python(*command)
    assert done.returncode == 0, done.stderr
    assert "tracking:" not in done.stderr
    return place


@pytest.fixture(scope="module", params=[0, 1])
def job(request: pytest.FixtureRequest, sweep: Path) -> Job:
    run_dir = sweep / str(request.param)
    (directory,) = (run_dir / "wandb").glob("offline-run-*")
    return Job(run_dir, OfflineRun.read(directory))


def test_its_label_compares_it_with_its_sibling(job: Job) -> None:
    run = job.written.run
    assert run.display_name == f"seed={job.run_dir.name}"
    assert (run.run_group, run.job_type, run.project) == ("a sweep", "loop", "iterdpo")
    assert run.run_id == (job.run_dir / RUN_ID_FILE).read_text("utf-8")
    assert {"mine", "model:lab", "judge:SelfJudge-current", "pairs:TopBottom"} <= set(run.tags)


def test_its_configuration_is_the_run_s_own(job: Job) -> None:
    config = job.written.config
    own = job.json("config.json")
    assert {name: config[name] for name in own} == own
    assert config["seed"] == int(job.run_dir.name)
    assert config["versions"]["torch"] == read_summary(job.run_dir).run.versions["torch"]
    assert set(config) == {*own, "versions", "git", "run_directory", "_wandb"}


def test_its_numbers_are_those_of_the_summary(job: Job) -> None:
    summary = read_summary(job.run_dir)
    told: dict[int, dict[str, float]] = {}
    for row in job.written.rows_with("iteration"):
        if all(isinstance(value, int | float) for value in row.values()):
            told.setdefault(row["iteration"], {}).update(row)
    assert list(told) == [0, 1]
    for iteration, values in told.items():
        # JSON writes 3.0 as 3 in the one and not in the other; both compare equal.
        assert values == pytest.approx(metrics(summary, iteration) | {"iteration": iteration})
    assert "quality/mean" in told[0]


def test_its_result_is_that_of_the_last_model(job: Job) -> None:
    summary = read_summary(job.run_dir)
    result = job.written.summary
    assert result["result"] == json.loads(json.dumps(without_prompts(summary)))
    last = metrics(summary, 1)
    assert {name: result[name] for name in last} == pytest.approx(last)
    assert [record.exit_code for record in job.written.of("exit")] == [0]


def test_its_curve_is_the_training_s_history(job: Job) -> None:
    history = json.loads((job.stage("adapter") / "training.json").read_text("utf-8"))["history"]
    rows = job.written.rows_with("train/M1/step")
    assert [row["train/M1/step"] for row in rows] == [entry["step"] for entry in history]
    assert [row["train/step"] for row in rows] == [entry["step"] for entry in history]
    for row, entry in zip(rows, history, strict=True):
        assert row["train/loss"] == row["train/M1/loss"] == pytest.approx(entry["loss"])
        assert "iteration" not in row
    assert job.written.steps["train/rewards/margins"] == "train/step"
    assert job.written.steps["train/M1/rewards/margins"] == "train/M1/step"


def test_its_tables_show_all_answers_to_the_prompts_shown(job: Job) -> None:
    (row,) = job.written.rows_with("samples.path")
    table = job.written.table(row["samples.path"])
    answers = [dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]]
    assert len({answer["prompt"] for answer in answers}) == 3
    n = job.json("config.json")["candidates"]["n"]
    assert len(answers) == 3 * n
    for answer in answers:
        if answer["mark"] == "chosen":
            of_prompt = [other for other in answers if other["prompt"] == answer["prompt"]]
            rejected = [other["score"] for other in of_prompt if other["mark"] == "rejected"]
            assert answer["score"] > min(rejected)
    (row,) = job.written.rows_with("preference_pairs.path")
    assert row["preference_pairs.nrows"] == 12


def test_its_histograms_count_everything(job: Job) -> None:
    (made,) = read_summary(job.run_dir).iterations
    (row,) = job.written.rows_with("distribution/score.values")
    assert row["iteration"] == 1
    assert sum(row["distribution/score.values"]) == made.judgments.scored
    assert sum(row["distribution/margin.values"]) == made.pairs.kept
    assert sum(row["distribution/tokens.values"]) == made.candidates


def test_its_artifacts_lie_in_the_store_with_the_hash_they_name(job: Job) -> None:
    summary = read_summary(job.run_dir)
    model = summary.models[1]
    artifacts = {item.type: item for item in job.written.of("artifact")}
    assert set(artifacts) == {"model", "dataset", "run_table"}
    metadata = json.loads(artifacts["model"].metadata)
    assert (metadata["name"], metadata["parent"]) == ("M1", "M0")
    assert metadata["fingerprint"] == model.fingerprint
    assert metadata["made_from"] == ["pairs M1"]
    assert metadata["stage"] == summary.iterations[0].stages.adapter
    places = {entry.path: entry.ref for entry in artifacts["model"].manifest.contents}
    weights = Path(unquote(urlsplit(places["adapter/adapter_model.safetensors"]).path))
    assert file_sha256(weights) == metadata["sha256"] == model.adapter_sha256
    assert json.loads(artifacts["dataset"].metadata)["judged_by"] == "M0"
