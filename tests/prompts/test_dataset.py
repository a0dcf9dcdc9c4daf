"""Prompts of datasets: what is left out and counted, and every preset on rows in its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble.prompts import make_prompts
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.errors import UserError
from iterdpo.prompts.base import assert_held_out
from iterdpo.prompts.dataset import DatasetPrompts
from iterdpo.prompts.self_instruct import SelfInstructPrompts
from iterdpo.settings import identity
from tests.prompts.sources import dataset_prompts

PLAIN = [f"Name {n} things that float" for n in range(60)]


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompts_of(path: Path, **mapping: Any) -> DatasetPrompts:
    settings: dict[str, Any] = {"field": "q", "share": 0.3} | mapping
    return dataset_prompts(path, **settings)


def refusal(path: Path, **mapping: object) -> str:
    with pytest.raises(UserError) as error:
        assert prompts_of(path, **mapping).everything
    assert "\n" not in str(error.value)
    return str(error.value)


def test_rows_that_are_no_prompts_are_counted_by_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "iterdpo")
    rows: list[dict[str, object]] = [{"q": text, "lang": "en"} for text in PLAIN]
    rows += [{"q": "Was?", "lang": "de"}, {"q": " ", "lang": "en"}, {"q": "x" * 99, "lang": "en"}]
    rows += rows[:2]
    found = prompts_of(jsonl(tmp_path / "q.jsonl", rows), where={"lang": "en"}, max_chars=98)
    assert [prompt.text for prompt in found.everything] == PLAIN
    assert found.everything[1].source == "q.jsonl, line 2"
    said = "60 prompts of 65 rows (left out: 2 duplicate, 1 filtered, 1 empty, 1 too_long)"
    assert said in caplog.text
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    said = "left out for an empty q: 1 of 65 rows, the first is line 62"
    assert warning.getMessage() == f"prompts.path={tmp_path / 'q.jsonl'}: {said}"


def test_the_three_sets_share_nothing_and_lose_nothing(tmp_path: Path) -> None:
    found = prompts_of(jsonl(tmp_path / "q.jsonl", [{"q": text} for text in PLAIN]))
    loop, held_out = found.loop(1, 99, 0), [*found.evaluation(99, 0), *found.judge_reference(99, 0)]
    assert_held_out(loop, held_out)
    assert {prompt.text for prompt in [*loop, *held_out]} == set(PLAIN)
    assert len(held_out) > 5


def test_identity_holds_the_prompts_and_what_decides_them(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"q": text, "n": n} for n, text in enumerate(PLAIN)]
    path = jsonl(tmp_path / "q.jsonl", rows)
    first = identity(prompts_of(path))
    assert json.loads(json.dumps(first)) == first
    assert identity(prompts_of(path, where={"n": tuple(range(60))})) == first
    assert identity(prompts_of(path, where={"n": tuple(range(59))})) != first
    assert identity(prompts_of(jsonl(path, rows[::-1]))) != first


def test_a_mapping_that_does_not_fit_names_its_setting(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "q.jsonl", [{"q": "Why?", "n": 1}, {"q": 3, "n": 2}])
    assert refusal(path) == (
        f"prompts.path={path}: line 2: q=3 is a number, not a text: fix or remove it"
    )
    assert refusal(path, field="r").startswith("prompts.field=r: no row of ")
    assert refusal(path, join=("r",)).startswith("prompts.dataset.join=r: no row of ")
    assert refusal(path, where={"r": 1}).startswith("prompts.dataset.where=r: no row of ")
    said = refusal(path, where={"n": 3})
    assert "none of 2 rows is a prompt (2 filtered): loosen prompts.dataset.where" in said


# Two rows in each dataset's own schema, and the prompts that they give.


def talk(*said: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"content": text, "role": roles[n % 2]} for n, text in enumerate(said)]


def oasst(text: str, parent: str | None, role: str, lang: str = "en") -> dict[str, object]:
    return {
        "message_id": f"id {text}", "parent_id": parent, "user_id": "u",
        "created_date": "2023-02-05T14:23:50.983374+00:00", "text": text, "role": role,
        "lang": lang, "review_count": 3, "review_result": True, "deleted": False,
        "rank": None if role == "prompter" else 0, "synthetic": False, "model_name": None,
        "detoxify": {"toxicity": 0.001}, "message_tree_id": "t", "tree_state": "ready_for_export",
        "emojis": {"name": ["+1"], "count": [1]},
        "labels": {"name": ["quality"], "value": [0.75], "count": [3]},
    }  # fmt: skip


OASST = [
    oasst("Name two fish.", None, "prompter"),
    oasst("Trout and cod.", "id Name two fish.", "assistant"),
    oasst("And a bird?", "id Trout and cod.", "prompter"),
    oasst("Nenne einen Fisch.", None, "prompter", "de"),
    oasst("Sort b and a.", None, "prompter"),
]
ALPACA: list[dict[str, object]] = [
    {"instruction": "Name two fish.", "input": "", "output": "Trout and cod.", "text": "..."},
    {"instruction": "Sort.", "input": "b and a", "output": "a and b", "text": "..."},
]
COMPLETION = {
    "annotations": {"helpfulness": {"Rating": "4", "Rationale": "r", "Type": ["1"],
                                    "Rationale For Rating": "r"}},
    "custom_system_prompt": "s", "model": "m", "principle": "helpfulness", "response": "Trout.",
    "critique": "c", "overall_score": 7.5, "fine-grained_score": 4.0,
}  # fmt: skip
SCHEMAS: Mapping[str, tuple[str, list[dict[str, object]], list[str]]] = {
    "lima": (
        "train.jsonl",
        [{"conversations": ["Name two fish.", "Trout and cod."], "source": "stackexchange"},
         {"conversations": ["Sort b and a.", "a, b", "Why?", "So."], "source": "multi_turn"}],
        ["Name two fish.", "Sort b and a."],
    ),
    "ultrafeedback": (
        "evol_instruct.jsonl",
        [{"source": "evol_instruct", "instruction": text, "models": ["m"],
          "completions": [COMPLETION], "correct_answers": ["None"],
          "incorrect_answers": ["None"]} for text in ("Name two fish.", "Sort b and a.")],
        ["Name two fish.", "Sort b and a."],
    ),
    "ultrafeedback_binarized": (
        "train_prefs.parquet",
        [{"prompt": text, "prompt_id": "0" * 64, "chosen": talk(text, "a"),
          "rejected": talk(text, "b"), "messages": talk(text, "a"), "score_chosen": 8.5,
          "score_rejected": 6.0} for text in ("Name two fish.", "Sort b and a.")],
        ["Name two fish.", "Sort b and a."],
    ),
    "oasst1": ("train.parquet", OASST, ["Name two fish.", "Sort b and a."]),
    "oasst2": ("2023_ready.messages.jsonl.gz", OASST, ["Name two fish.", "Sort b and a."]),
    "alpaca": ("train.parquet", ALPACA, ["Name two fish.", "Sort.\n\nb and a"]),
    "alpaca_cleaned": (
        "alpaca_data_cleaned.json",
        [{key: row[key] for key in ("output", "input", "instruction")} for row in ALPACA],
        ["Name two fish.", "Sort.\n\nb and a"],
    ),
    "hh_rlhf": (
        "train.jsonl.gz",
        [{"chosen": f"\n\nHuman: {text}\n\nAssistant: a\n\nHuman: b\n\nAssistant: c",
          "rejected": f"\n\nHuman: {text}\n\nAssistant: d"}
         for text in ("Name two fish.", "Sort b and a.", "Name two fish.")],
        ["Name two fish.", "Sort b and a."],
    ),
    "alpaca_eval": (
        "alpaca_eval.json",
        [{"instruction": text, "output": "a", "generator": "text_davinci_003",
          "dataset": "helpful_base", "datasplit": "eval"}
         for text in ("Name two fish.", "Sort b and a.")],
        ["Name two fish.", "Sort b and a."],
    ),
    "dataset": ("rows.csv", [{"prompt": "Name two fish."}], ["Name two fish."]),
}  # fmt: skip


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    import csv
    import gzip

    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    match "".join(path.suffixes[-1:]):
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".json":
            path.write_text(json.dumps(rows))
        case ".gz":
            path.write_bytes(gzip.compress(lines))
        case ".csv":
            with path.open("w", newline="") as out:
                writer = csv.DictWriter(out, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        case _:
            path.write_bytes(lines)
    return path


def configured(*overrides: str) -> Config:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", overrides=list(overrides)))


def test_every_dataset_that_ships_has_rows_here() -> None:
    shipped = {path.stem for path in (conf_directory() / "prompts").glob("*.yaml")}
    others = {"lab", "custom", "file", "pairs", "self_instruct", "self_instruct_oasst1"}
    assert shipped - others == set(SCHEMAS)


def test_examples_for_self_instruct_may_come_from_a_dataset(tmp_path: Path) -> None:
    path = write(tmp_path / "train.parquet", OASST)
    config = configured("prompts=self_instruct_oasst1", f"prompts.path={path}")
    source = make_prompts(config)
    assert isinstance(source, SelfInstructPrompts)
    assert [prompt.text for prompt in source.everything] == ["Name two fish.", "Sort b and a."]
    given, seeds = (item.prompts.choice.settings for item in (configured("prompts=oasst1"), config))
    assert (given["dataset"], given["field"]) == (seeds["dataset"], seeds["field"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_preset_reads_a_local_copy_in_its_schema(name: str, tmp_path: Path) -> None:
    file, rows, expected = SCHEMAS[name]
    path = write(tmp_path / file, rows)
    config = configured(f"prompts={name}", f"prompts.path={path}")
    source = make_prompts(config)
    assert isinstance(source, DatasetPrompts)
    assert [prompt.text for prompt in source.everything] == expected


@pytest.mark.parametrize("name", sorted(set(SCHEMAS) - {"dataset"}))
def test_a_preset_names_a_dataset_and_says_whose_terms_hold(name: str) -> None:
    text = (conf_directory() / "prompts" / f"{name}.yaml").read_text()
    assert "\n# License: " in text
    prompts = configured(f"prompts={name}").prompts.choice.settings
    owner, repository = prompts["path"].split("/")
    assert owner
    assert repository
    # What is fixed is fixed to a commit; a gated one says how to get in.
    revision = prompts["dataset"]["revision"]
    assert revision is None or len(revision) == 40
    assert ("Gated:" in text) == (name == "lima")


def test_a_preset_offline_says_in_one_line_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured("prompts=ultrafeedback")
    with pytest.raises(UserError, match=r"prompts\.path=openbmb/UltraFeedback: the hub cannot be"):
        make_prompts(config)
