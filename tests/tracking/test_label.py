"""What a run is called, from what Hydra leaves in its directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from iterdpo.tracking.label import NAME_LENGTH, TAG_LENGTH, label_of, short, tags_of
from tests.tracking.rounds import CONFIG


def job(
    run_dir: Path, *overrides: str, sweep: Path | None = None, asked: tuple[str, ...] = ()
) -> Path:
    """Write what Hydra writes for one job."""
    place = run_dir / ".hydra"
    place.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(list(overrides)), place / "overrides.yaml")
    mode = "MULTIRUN" if sweep else "RUN"
    # As in Hydra's own file, the directory may stand there unresolved.
    hydra = {"hydra": {"mode": mode, "sweep": {"dir": "runs/${now:%Y}"}}}
    OmegaConf.save(OmegaConf.create(hydra), place / "hydra.yaml")
    if sweep and asked:
        task = {"hydra": {"overrides": {"task": list(asked)}}}
        OmegaConf.save(OmegaConf.create(task), sweep / "multirun.yaml")
    return run_dir


def test_a_job_of_a_sweep_is_called_by_what_differs(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep_1"
    run_dir = job(
        sweep / "0", "experiment=smoke", "training.beta=0.3", "training.loss=[sigmoid,sft]",
        "seed=1", sweep=sweep,
        asked=("experiment=smoke", "training.beta=0.1,0.3", "training.loss=[sigmoid, sft]",
               "seed=range(0,3)"),
    )  # fmt: skip
    label = label_of(run_dir, CONFIG)
    assert label.name == "beta=0.3 seed=1"
    assert label.group == "sweep_1"
    assert label.job_type == "loop"
    assert label.notes == ("experiment=smoke training.beta=0.3 training.loss=[sigmoid,sft] seed=1")


def test_a_sweep_is_found_above_a_deeper_directory(tmp_path: Path) -> None:
    sweep = tmp_path / "study"
    run_dir = job(sweep / "a" / "b", "seed=2", sweep=sweep, asked=("seed=1,2",))
    label = label_of(run_dir, CONFIG)
    assert (label.name, label.group) == ("seed=2", "study")


def test_a_sweeper_that_chooses_by_itself_swept_what_nobody_asked_for(tmp_path: Path) -> None:
    sweep = tmp_path / "study"
    run_dir = job(
        sweep / "4", "iterations=1", "training.beta=0.17", sweep=sweep, asked=("iterations=1",)
    )
    assert label_of(run_dir, CONFIG).name == "beta=0.17"


def test_a_sweep_without_a_record_of_itself(tmp_path: Path) -> None:
    run_dir = job(tmp_path / "study" / "4", "seed=3", sweep=tmp_path / "study")
    label = label_of(run_dir, CONFIG)
    assert (label.name, label.group) == ("seed=3", "study")


def test_a_job_that_differs_in_nothing_keeps_its_number(tmp_path: Path) -> None:
    sweep = tmp_path / "study"
    run_dir = job(sweep / "0", "seed=1", sweep=sweep, asked=("seed=1",))
    assert label_of(run_dir, CONFIG).name == "0"


def test_the_configured_group_wins(tmp_path: Path) -> None:
    sweep = tmp_path / "study"
    run_dir = job(sweep / "0", "seed=1", sweep=sweep, asked=("seed=1,2",))
    values = {**CONFIG, "tracking": {"group": "mine", "tags": []}}
    assert label_of(run_dir, values).group == "mine"


def test_a_run_alone_is_called_by_what_may_change_its_result(tmp_path: Path) -> None:
    run_dir = job(
        tmp_path / "2026-01-02_03-04-05", "training.beta=0.3", "tracking=none", "store.root=/s",
        "tracking.mode=offline", "engine.vllm.tensor_parallel=2", "pairs=best_worst",
    )  # fmt: skip
    label = label_of(run_dir, CONFIG)
    assert (label.name, label.group) == ("beta=0.3 pairs=best_worst", None)
    assert "engine.vllm.tensor_parallel=2" in label.notes


def test_the_shipped_recipe_alone_is_called_by_its_time(tmp_path: Path) -> None:
    run_dir = job(tmp_path / "2026-01-02_03-04-05")
    assert label_of(run_dir, CONFIG).name == "2026-01-02_03-04-05"


def test_a_directory_that_the_user_named_is_the_name(tmp_path: Path) -> None:
    run_dir = job(tmp_path / "baseline", "training.beta=0.3")
    assert label_of(run_dir, CONFIG).name == "baseline"


def test_a_run_that_hydra_did_not_start(tmp_path: Path) -> None:
    label = label_of(tmp_path / "here", CONFIG)
    assert (label.name, label.group, label.notes) == ("here", None, "")


def test_no_secret_gets_into_name_or_notes(tmp_path: Path) -> None:
    run_dir = job(
        tmp_path / "2026-01-02_03-04-05", "+model.token=s3cr3t", "model.path=https://u:s3cr3t@h/m"
    )
    label = label_of(run_dir, CONFIG)
    assert label.name == "token=(hidden) path=m"
    assert "s3cr3t" not in label.notes


def test_long_names_are_cut(tmp_path: Path) -> None:
    run_dir = job(tmp_path / "2026-01-02_03-04-05", f"prompts.system={'x' * 200}")
    assert len(label_of(run_dir, CONFIG).name) == NAME_LENGTH


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([("training.beta", "0.3"), ("seed", "1")], "beta=0.3 seed=1"),
        ([("judge.model", "initial"), ("model", "lab")], "judge.model=initial model=lab"),
        ([("model.path", "/home/x/models/mine/")], "path=mine"),
        ([], ""),
    ],
)
def test_overrides_in_brief(overrides: list[tuple[str, str]], expected: str) -> None:
    assert short(overrides) == expected


def test_tags_name_the_choices_after_the_user_s_own() -> None:
    assert tags_of(CONFIG) == (
        "mine", "model:lab", "prompts:LabPrompts", "judge:SelfJudge-current", "score:expected",
        "rubric:rubric", "pairs:TopBottom", "loss:sigmoid+sft", "reference:previous",
    )  # fmt: skip
    long = {**CONFIG, "tracking": {"group": None, "tags": ["a" * 100, "model:lab"]}}
    assert [len(tag) for tag in tags_of(long)][:1] == [TAG_LENGTH]
    assert tags_of(long).count("model:lab") == 1


def test_a_judge_is_named_by_its_class_and_by_the_model_that_it_names() -> None:
    own = {"_target_": "my_judge.py:MyJudge", "limit": 300}
    tags = tags_of({**CONFIG, "judge": own})
    assert "judge:MyJudge" in tags
    assert not any(tag.startswith(("score:", "rubric:")) for tag in tags)
    pairwise = {"_target_": "iterdpo.judging.tournament.Tournament", "model": "initial"}
    assert "judge:Tournament-initial" in tags_of({**CONFIG, "judge": pairwise})
