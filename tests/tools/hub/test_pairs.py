"""The dataset is what ``datasets`` loads and TRL trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iterdpo.records import Pair
from iterdpo.runs.directory import Run
from iterdpo.tools.hub.folder import folders
from iterdpo.tools.hub.pairs import PairsFile, write_pairs
from tests.checkpoints import CheckpointOf
from tests.tools.hub.conftest import Changed


def loaded(directory: Path, tmp_path: Path, name: str | None = None) -> Any:
    import datasets

    return datasets.load_dataset(
        str(directory), name, split="train", cache_dir=str(tmp_path / "cache")
    )


def test_load_dataset_gives_every_pair(finished_run: Path, tmp_path: Path) -> None:
    run = Run.open(finished_run)
    with folders(run, "me/tiny", "none", pairs=True) as (folder,):
        rows = loaded(folder.directory, tmp_path)
        last = loaded(folder.directory, tmp_path, "iteration-2")
        assert (len(rows), len(last)) == (12, 6)
        made = {pair.id: (number, pair) for number in (1, 2) for pair in run.made(number).pairs}
        assert {row["id"] for row in rows} == set(made)
        for row in rows:
            number, pair = made[row["id"]]
            assert row["prompt"] == [{"role": "user", "content": pair.prompt}]
            assert row["chosen"] == [{"role": "assistant", "content": pair.chosen}]
            assert row["rejected"] == [{"role": "assistant", "content": pair.rejected}]
            assert row["chosen_score"] == pair.chosen_score > row["rejected_score"]
            assert row["iteration"] == number
            assert (row["policy"], row["judge"]) == (f"M{number - 1}", f"M{number - 1}")
            assert row["policy_fingerprint"] == pair.policy


def test_trl_trains_on_it_as_it_stands(
    finished_run: Path, checkpoint_of: CheckpointOf, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    checkpoint = str(checkpoint_of("llama"))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, pad_token="<|im_end|>")
    with folders(Run.open(finished_run), "me/tiny", "none", pairs=True) as (folder,):
        rows = loaded(folder.directory, tmp_path)
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(checkpoint),
        args=DPOConfig(
            output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=2,
            report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )  # fmt: skip
    # The answer and the token that ends it, and before them the template's turn.
    dataset: Any = trainer.train_dataset
    row, learned = rows[0], dataset[0]
    answer = str(tokenizer.decode(learned["chosen_ids"]))
    assert answer.startswith(row["chosen"][0]["content"])
    assert row["prompt"][0]["content"] in tokenizer.decode(learned["prompt_ids"])
    assert trainer.train().training_loss == pytest.approx(0.6931, abs=1e-3)  # ln 2: step 0


def test_the_system_message_stands_first(changed: Changed, tmp_path: Path) -> None:
    import pyarrow.parquet

    run = changed({"prompts.system": "Be *brief*."})
    files = write_pairs(run, tmp_path / "out")
    assert files == [
        PairsFile(1, "data/iteration-1.parquet", 6, "M0", "M0"),
        PairsFile(2, "data/iteration-2.parquet", 6, "M1", "M1"),
    ]
    row = pyarrow.parquet.read_table(tmp_path / "out" / files[0].path).to_pylist()[0]
    assert [item["role"] for item in row["prompt"]] == ["system", "user"]
    assert row["prompt"][0]["content"] == "Be *brief*."


def test_the_same_run_gives_the_same_bytes(finished_run: Path, tmp_path: Path) -> None:
    run = Run.open(finished_run)
    for place in ("a", "b"):
        write_pairs(run, tmp_path / place)
    for number in (1, 2):
        name = f"data/iteration-{number}.parquet"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_iteration_without_pairs_has_no_file_and_a_foreign_judge_its_class(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(finished_run)
    (pair, *_), none = run.made(1).pairs, ()
    asked = run.made(1).prompts
    foreign = Pair(**{name: getattr(pair, name) for name in pair.__slots__} | {"judge": "f" * 16})
    stages = run.summary.iterations[0].stages
    there = {stages.pairs: (foreign,), stages.prompts: asked}
    monkeypatch.setattr(Run, "records", lambda _, stage, __: there.get(stage, none))
    ranker = {"_target_": "iterdpo.judging.pairrm.PairRmJudge"}
    run = Run(run.directory, {**run.values, "judge": ranker}, run.summary)
    assert write_pairs(run, tmp_path) == [
        PairsFile(1, "data/iteration-1.parquet", 1, "M0", f"PairRmJudge {'f' * 16}")
    ]
