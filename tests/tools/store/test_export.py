from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.models.layout import MODEL_DIR
from iterdpo.records import Candidate, FinishReason, Prompt
from iterdpo.store.identity import Ref
from iterdpo.store.inventory import Finished, read_store
from iterdpo.tools.store.export import export
from tests.checkpoints import CheckpointOf
from tests.store.stores import Loop, Store, put_loop


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def loop(store: Store) -> Loop:
    return put_loop(store)


def stage(store: Store, ref: Ref) -> Finished:
    return read_store(store.root).finished[ref]


def test_pairs_become_json_lines_with_the_columns_that_trl_reads(
    store: Store, loop: Loop, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "pairs.jsonl"
    assert export(stage(store, loop.pairs), target) == "1 records, as JSON lines"
    (line,) = target.read_text("utf-8").splitlines()
    row = json.loads(line)
    trl = {name: row[name] for name in ("prompt", "chosen", "rejected")}
    assert trl == {"prompt": "say well", "chosen": "well done", "rejected": "bad"}
    assert (row["chosen_score"], row["rejected_score"]) == (4.5, 1.25)


def test_each_record_is_one_line_whatever_its_text(store: Store, tmp_path: Path) -> None:
    texts = ["two\nlines\r", "β 好", '\u2028 \x00 "quoted"', ""] * 600  # more than one batch
    ref = store.put("prompts", {}, records=[Prompt(str(n), t, "lab") for n, t in enumerate(texts)])
    assert export(stage(store, ref), tmp_path / "p.jsonl") == "2400 records, as JSON lines"
    lines = (tmp_path / "p.jsonl").read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["text"] for line in lines] == texts


def test_numbers_that_json_does_not_know_are_null_and_counted(store: Store, tmp_path: Path) -> None:
    candidate = Candidate(
        "c", "p", 0, "t", (1,), (2, 3, 4), (-0.5, float("-inf"), float("nan")), FinishReason.STOP,
        "m", 7,
    )  # fmt: skip
    ref = store.put("candidates", {}, records=[candidate])
    said = export(stage(store, ref), tmp_path / "c.jsonl")
    assert said == "1 records, as JSON lines; 2 numbers that JSON does not know are null"
    assert json.loads((tmp_path / "c.jsonl").read_text())["logprobs"] == [-0.5, None, None]


def test_parquet_is_the_stores_own_file(store: Store, loop: Loop, tmp_path: Path) -> None:
    assert export(stage(store, loop.pairs), tmp_path / "p.parquet") == "1 records, as Parquet"
    stored = (store.at(loop.pairs) / "records.parquet").read_bytes()
    assert (tmp_path / "p.parquet").read_bytes() == stored


def test_a_directory_is_what_datasets_loads(store: Store, loop: Loop, tmp_path: Path) -> None:
    import datasets

    target = tmp_path / "pairs-v1.0"
    said = export(stage(store, loop.pairs), target)
    assert said == f"1 records, for datasets.load_from_disk({str(target)!r})"
    dataset = datasets.load_from_disk(str(target))
    assert dataset.num_rows == 1
    assert dataset[0]["chosen"] == "well done"
    assert {"prompt", "chosen", "rejected"} < set(dataset.column_names)


def test_an_adapter_is_what_peft_loads(
    store: Store, tmp_path: Path, checkpoint_of: CheckpointOf
) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    def base() -> Any:
        return AutoModelForCausalLM.from_pretrained(checkpoint_of("llama"))

    model = get_peft_model(
        base(), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 0.25)
    model.save_pretrained(str(tmp_path / "made"))
    ref = store.put("adapter", {}, 1, trees={"adapter": tmp_path / "made"})
    target = tmp_path / "exported"
    said = export(stage(store, ref), target)
    assert said == f"the adapter, for PeftModel.from_pretrained(base, {str(target)!r})"
    loaded = PeftModel.from_pretrained(base(), str(target))
    weights = {name: p for name, p in loaded.named_parameters() if "lora_B" in name}
    assert len(weights) == 2  # layers
    assert all((weight == 0.25).all() for weight in weights.values())


@pytest.mark.parametrize("name", ["sft", "merged", "adapter"])
def test_weights_are_what_transformers_loads(
    store: Store, tmp_path: Path, checkpoint_of: CheckpointOf, name: str
) -> None:
    """Of a fine-tuning of every weight, a merge, and an iteration of training every weight."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trees = {MODEL_DIR: checkpoint_of("llama")}
    if name == "merged":
        trees["image"] = checkpoint_of("qwen")  # beside it: what engines serve
    ref = store.put(name, {}, 1, trees=trees)
    target = tmp_path / "exported"
    said = export(stage(store, ref), target)
    assert said == f"the weights, for AutoModelForCausalLM.from_pretrained({str(target)!r})"
    ours, theirs = (
        AutoModelForCausalLM.from_pretrained(path).state_dict()
        for path in (target, checkpoint_of("llama"))
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert len(AutoTokenizer.from_pretrained(target)) > 0
    assert json.loads((target / "iterdpo.json").read_text()) == {"stage": name, "key": ref.key}
    with pytest.raises(UserError, match="no file holds the weights; name a directory"):
        export(stage(store, ref), tmp_path / "w.parquet")


def test_a_checkpoint_that_no_export_wrote_is_never_replaced(
    store: Store, tmp_path: Path, checkpoint_of: CheckpointOf
) -> None:
    ref = store.put("adapter", {}, 1, trees={MODEL_DIR: checkpoint_of("llama")})
    mine, made = tmp_path / "mine", tmp_path / "made"
    shutil.copytree(checkpoint_of("qwen"), mine)
    before = (mine / "config.json").read_bytes()
    with pytest.raises(UserError, match="is a directory that no export wrote"):
        export(stage(store, ref), mine, force=True)
    assert (mine / "config.json").read_bytes() == before
    export(stage(store, ref), made)
    (made / "config.json").write_text("older")
    export(stage(store, ref), made, force=True)
    assert (made / "config.json").read_text() != "older"


def test_what_exists_is_replaced_only_when_asked_for(
    store: Store, loop: Loop, tmp_path: Path
) -> None:
    lines, table = tmp_path / "p.jsonl", tmp_path / "p.parquet"
    for target in (lines, table):
        target.write_text("mine")
        with pytest.raises(UserError, match="exists already; --force replaces it"):
            export(stage(store, loop.pairs), target)
        assert target.read_text() == "mine"
        export(stage(store, loop.pairs), target, force=True)
        assert target.read_bytes() != b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl", "p.parquet", "store"]


def test_an_exported_directory_is_replaced_and_no_other(
    store: Store, loop: Loop, tmp_path: Path
) -> None:
    target = tmp_path / "adapter"
    export(stage(store, loop.adapter), target)
    (target / "adapter_model.safetensors").write_text("older")
    with pytest.raises(UserError, match="exists already"):
        export(stage(store, loop.adapter), target)
    export(stage(store, loop.adapter), target, force=True)
    assert (target / "adapter_model.safetensors").read_text() == "M1 with beta 0.1"
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("mine")
    for ref in (loop.adapter, loop.pairs):
        with pytest.raises(UserError, match="is a directory that no export wrote"):
            export(stage(store, ref), home, force=True)
    named = tmp_path / "dir.jsonl"
    named.mkdir()
    with pytest.raises(UserError, match="is a directory"):
        export(stage(store, loop.pairs), named, force=True)
    assert (home / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "target", "line"),
    [
        ("pairs", "p.csv", "records go to a file that ends in .jsonl or .parquet, or to"),
        ("pairs", "p.jsonl.gz", "records go to a file"),
        ("adapter", "a.jsonl", "no file holds the adapter; name a directory"),
        ("base", "b", "base [0-9a-f]{8}: has no records, adapter or weights to export"),
        ("pairs", "store/pairs/mine.jsonl", "lies in the store"),
        ("adapter", "store", "lies in the store"),
        ("pairs", "store/../store/x", "lies in the store"),
    ],
)
def test_a_target_that_does_not_fit_is_one_line(
    store: Store, loop: Loop, tmp_path: Path, name: str, target: str, line: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=line) as caught:
        export(stage(store, getattr(loop, name)), tmp_path / target)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["pairs", "adapter"])
def test_a_damaged_stage_is_not_exported(
    store: Store, loop: Loop, tmp_path: Path, name: str
) -> None:
    ref = getattr(loop, name)
    damaged = {"pairs": "records.parquet", "adapter": "adapter/adapter_config.json"}[name]
    path = store.at(ref) / damaged
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match=f"{damaged} is not what its stage wrote"):
        export(stage(store, ref), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_target_that_cannot_be_written_is_one_line_and_leaves_nothing(
    store: Store, loop: Loop, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for ref in (loop.pairs, loop.adapter):
        with pytest.raises(UserError, match=r"cannot be written \((Not a directory|File exists)\)"):
            export(stage(store, ref), tmp_path / "file" / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "store"]


def test_a_link_to_itself_is_there_already(store: Store, loop: Loop, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").symlink_to("x.jsonl")
    with pytest.raises(UserError, match="exists already"):
        export(stage(store, loop.pairs), tmp_path / "x.jsonl")
