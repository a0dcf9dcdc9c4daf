"""What the models stand on, in words that hold elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from iterdpo.runs.directory import Run
from iterdpo.tools.hub.provenance import Origin, without_places
from tests.tools.hub.conftest import Changed

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("iterdpo model.path=/home/me/llama seed=1", "iterdpo model.path=llama seed=1"),
        ("prompts.path=~/data/p.jsonl", "prompts.path=p.jsonl"),
        ("sft.path=[../a/x.jsonl,./b/y.jsonl]", "sft.path=[x.jsonl,y.jsonl]"),
        ('["/home/me/a.jsonl", "/home/me/b.jsonl"]', '["a.jsonl", "b.jsonl"]'),
        ("/home/me/my own data/p.jsonl", "p.jsonl"),
        ("url=http://localhost:8000/v1", "url=http://localhost:8000/v1"),
        ("model.path=org/name", "model.path=org/name"),
        ("training.loss_weights=[1.0,0.2]", "training.loss_weights=[1.0,0.2]"),
    ],
)  # fmt: skip
def test_directories_of_this_machine_are_cut_off(text: str, shown: str) -> None:
    assert without_places(text) == shown


def test_a_checkpoint_of_the_hub_has_the_commit_that_was_read(
    changed: Changed, tmp_path: Path
) -> None:
    cache = tmp_path / "models--org--base" / "snapshots" / COMMIT
    run = changed({"model.path": "org/base", "model.revision": "main"})
    models = tuple(replace(model, checkpoint=str(cache)) for model in run.models)
    run = Run(run.directory, run.values, replace(run.summary, models=models))
    assert Origin.of(run) == Origin("org/base", COMMIT, "org/base")
    assert Origin.of(run).as_python == "'org/base'"


def test_a_checkpoint_of_the_hub_that_lay_elsewhere_has_what_was_asked_for(
    changed: Changed,
) -> None:
    run = changed({"model.path": "org/base", "model.revision": "v2"})
    assert Origin.of(run) == Origin("org/base", "v2", "org/base")


def test_a_local_checkpoint_and_the_labs(finished_run: Path, changed: Changed) -> None:
    local = Origin.of(Run.open(finished_run))
    assert (local.hub_id, local.revision) == (None, None)
    assert "/" not in local.shown
    assert Origin.of(changed({"model.path": "lab"})).shown == "lab-seed"
