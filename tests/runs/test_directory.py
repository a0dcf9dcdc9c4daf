"""A run is read back from its directory, and what is missing is said in one line."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from iterdpo import __version__
from iterdpo.errors import UserError
from iterdpo.evaluation.summary_file import read_summary, write_summary
from iterdpo.records import Candidate, Prompt
from iterdpo.runs.directory import Run, find_runs, job_order
from iterdpo.runs.execute import link as link_stages


@pytest.fixture
def copied(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the run's own directory, its links still into the same store."""
    shutil.copytree(finished_run, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def test_the_policies_are_those_that_were_made(finished_run: Path) -> None:
    run = Run.open(finished_run)
    policies = run.policies
    assert list(policies) == ["M0", "M1", "M2"]
    # The fingerprint is computed from what was read, and must be the one written down.
    written = {model.name: model.fingerprint for model in run.models}
    assert {name: policy.fingerprint for name, policy in policies.items()} == written
    assert policies["M2"].parent == policies["M1"].fingerprint
    assert run.policy() is policies["M2"]
    assert run.policy("M0").adapter is None


def test_the_records_of_an_iteration(finished_run: Path) -> None:
    run = Run.open(finished_run)
    first, second = run.made(1), run.made(2)
    assert (len(first.prompts), len(first.candidates), len(first.judgments)) == (6, 24, 24)
    assert {item.policy for item in first.candidates} == {run.policy("M0").fingerprint}
    assert {item.policy for item in second.candidates} == {run.policy("M1").fingerprint}
    assert {pair.prompt_id for pair in first.pairs} <= {prompt.id for prompt in first.prompts}
    assert len(first.pairs) + sum(first.dropped.values()) == 6  # one prospective pair a prompt
    assert first.training is not None
    assert len(first.training["history"]) == len(first.pairs) // 2


def test_any_stage_by_its_address(finished_run: Path) -> None:
    run = Run.open(finished_run)
    stages = run.models[1].stages
    assert len(run.records(stages.held_out, Prompt)) == 5
    assert {item.text.split()[0] for item in run.records(stages.greedy, Candidate)} == {"M1"}
    assert run.manifest(stages.greedy).seconds >= 0


def test_the_configuration_is_typed(finished_run: Path, copied: Path) -> None:
    assert Run.open(finished_run).config.candidates.n == 4
    values = json.loads((copied / "config.json").read_text())
    values["candidates"]["unheard_of"] = 1
    (copied / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"config\.json: 1 settings .* this version knows"):
        _ = Run.open(copied).config


def test_what_is_no_run(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(UserError, match="no run there"):
        Run.open(tmp_path)
    (copied / "summary.json").unlink()
    with pytest.raises(UserError, match="nothing is measured yet"):
        Run.open(copied)
    (copied / "summary.json").write_text('{"models": [')
    with pytest.raises(UserError, match=r"summary\.json: is not JSON"):
        Run.open(copied)


@pytest.mark.parametrize(
    ("name", "text", "lacks"),
    [
        ("config.json", "{}", "model"),
        ("config.json", "3", "model"),
    ],
)
def test_a_file_of_another_version_or_program_is_named(
    copied: Path, name: str, text: str, lacks: str
) -> None:
    (copied / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name}: has no {lacks}, so it is not this version's"):
        Run.open(copied)


@pytest.mark.parametrize(
    ("section", "setting"),
    [("model", "path"), ("training", "method"), ("evaluation", "oracle"), ("sft", "method")],
)
def test_a_setting_that_another_version_did_not_have_is_named_with_that_version(
    copied: Path, tmp_path: Path, section: str, setting: str
) -> None:
    values = json.loads((copied / "config.json").read_text())
    del values[section][setting]
    (copied / "config.json").write_text(json.dumps(values))
    run = Run.open(copied)
    said = rf"config\.json: has no {setting}, so .* \(iterdpo {re.escape(__version__)} made the run"
    with pytest.raises(UserError, match=said):
        run.values[section][setting]


def test_the_version_of_an_earlier_run_is_told_whatever_its_configuration_is(copied: Path) -> None:
    (copied / "config.json").write_text('{"engine": {}}')
    (copied / "summary.json").write_text('{"version": 1, "iterdpo": "0.0.9", "models": []}')
    with pytest.raises(UserError, match=r"summary\.json: written by iterdpo 0\.0\.9 in version 1"):
        Run.open(copied)


def test_an_unknown_model_names_those_there_are(finished_run: Path) -> None:
    with pytest.raises(UserError, match="no model M7; there are M0, M1, M2"):
        Run.open(finished_run).policy("M7")


def test_a_stage_that_left_the_store(copied: Path) -> None:
    run = Run.open(copied)
    for link in (copied / "stages").glob("*-pairs-*"):
        link.unlink()
        link.symlink_to(copied / "gone")
    with pytest.raises(UserError, match=r"pairs/\w+ is no longer in the store"):
        run.made(1)


def test_a_run_that_resumes_over_a_store_that_was_moved_points_there(tmp_path: Path) -> None:
    for store in ("old", "new"):
        stage = tmp_path / store / "pairs" / "1f2e3d4c"
        stage.mkdir(parents=True)
        for _ in range(2):
            link_stages({"pairs/1f2e3d4c": stage}, tmp_path / "stages")
        (place,) = (tmp_path / "stages").iterdir()
        assert place.resolve() == stage.resolve()


@pytest.mark.parametrize("text", [b"not what it was", b""])
@pytest.mark.parametrize(
    ("stage", "file"),
    [("greedy", "records.parquet"), ("policy", "adapter/adapter_model.safetensors")],
)
def test_a_damaged_stage_is_named_with_its_file(
    copied: Path, tmp_path: Path, stage: str, file: str, text: bytes
) -> None:
    stage = getattr(Run.open(copied).models[1].stages, stage)
    (link,) = copied.glob(f"stages/*-{stage.split('/')[0]}-{stage.split('/')[1][:8]}")
    shutil.copytree(link.resolve(), tmp_path / "damaged")
    link.unlink()
    link.symlink_to(tmp_path / "damaged")
    assert Run.open(copied).directory_of(stage) == tmp_path / "damaged"
    (tmp_path / "damaged" / file).write_bytes(text)
    said = rf"damaged/{file} is not what its stage wrote .*; the run's own command, run again"
    with pytest.raises(UserError, match=said):
        Run.open(copied).directory_of(stage)


def test_an_unfinished_run_is_read_as_far_as_it_is_done(copied: Path) -> None:
    summary = read_summary(copied)
    done = replace(summary, models=summary.models[:2], iterations=summary.iterations[:1])
    write_summary(done, copied)
    run = Run.open(copied)
    assert run.policy().name == "M1"
    assert len(run.made(1).prompts) == 6


def test_an_iteration_that_trained_nothing_has_no_training(copied: Path) -> None:
    summary = read_summary(copied)
    first, *others = summary.iterations
    first = replace(first, stages=replace(first.stages, adapter=None))
    write_summary(replace(summary, iterations=(first, *others)), copied)
    assert Run.open(copied).made(1).training is None


def test_jobs_with_names_of_their_own_come_in_one_order_on_every_file_system() -> None:
    jobs = [Path(name) for name in ("beta=0.3", "10", "beta=0.1", "2", "beta=0.2")]
    for given in (jobs, jobs[::-1]):
        ordered = sorted(given, key=job_order)
        assert [job.name for job in ordered] == ["2", "10", "beta=0.1", "beta=0.2", "beta=0.3"]


def test_runs_and_sweeps(copied: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for name in ("10", "2", "note"):
        shutil.copytree(copied, sweep / name, symlinks=True)
    (sweep / "note" / "summary.json").unlink()
    found = find_runs([copied, sweep])
    assert [run.name for run in found] == ["run", "2", "10"]
    with pytest.raises(UserError, match="neither a run nor a sweep"):
        find_runs([tmp_path / "nowhere"])
