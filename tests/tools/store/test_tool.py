"""The commands as a user types them, each once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from iterdpo.store.identity import Ref
from tests.store.stores import Store, put_loop

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "vllm", "wandb", "hydra", "pydantic")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def tool(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the tool; the store is ``./store`` unless the arguments say otherwise."""
    root = Path(__file__).resolve().parents[3]
    settings = {"PYTHONPATH": str(root), "TZ": "UTC", "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", "iterdpo.store", *map(str, arguments)],
        cwd=cwd, env=os.environ | settings | environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert (done.returncode, done.stderr) == (0, "")
    return [line.rstrip() for line in done.stdout.splitlines()]


def refused(done: subprocess.CompletedProcess[str], text: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert text in done.stderr


def test_list_shows_stages_leftovers_runs_and_totals(store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    loop = put_loop(store)
    store.register(tmp_path / "run", loop.pairs, name="1" * 16)
    store.register(tmp_path / "gone", loop.adapter, name="2" * 16, finished=False)
    store.leave(f"pairs/.work-{'ab' * 32}/x", "12345")
    found = lines(tool("list", cwd=tmp_path))
    assert found[0].split() == ["stage", "key", "size", "seconds", "finished", "records", "runs"]
    size = sum(path.stat().st_size for path in store.at(loop.candidates).iterdir()) / 1000
    row = f"candidates {loop.candidates.key[:8]} {size:.1f} kB 1.5 2023-11-14 22:15 2 1-2".split()
    assert row in [line.split() for line in found]
    adapter = next(line for line in found if line.startswith("adapter"))
    assert adapter.split()[-2:] == ["–", "2"]
    assert found[12].split() == ["unfinished", "or", "left", "over", "key", "size", "written"]
    assert found[13].split()[:5] == ["pairs", "unfinished", "abababab", "5", "B"]
    assert found[15].startswith("10 stages, ")
    assert found[15].endswith(", 15.0 s to compute")
    assert found[16:] == [
        "1 unfinished or left over, 5 B",
        f"run 1: {tmp_path / 'run'} (1 stage)",
        f"run 2: {tmp_path / 'gone'} (1 stage, not finished, its directory is gone)",
    ]
    assert max(map(len, found[:15])) <= 80
    some = lines(tool("list", "--stage", "prompts", "--store", store.root, cwd=tmp_path.parent))
    assert [line.split()[0] for line in some[1:3]] == ["prompts", "prompts"]
    assert "2 stages" in some[4]


def test_verify_names_damage_repairs_nothing_and_exits_1(store: Store, tmp_path: Path) -> None:
    loop = put_loop(store)
    assert lines(tool("verify", cwd=tmp_path)) == ["10 stages: every file is what its stage wrote"]
    path = store.at(loop.base) / "dequantized" / "model.safetensors"
    path.write_text("Weights")
    done = tool("verify", cwd=tmp_path)
    assert done.returncode == 1
    first, last = done.stdout.splitlines()
    name = "dequantized/model.safetensors"
    assert first == f"base {loop.base.key[:8]}  {name}: differs from what was written"
    assert last.startswith("1 of 10 stages damaged;")
    assert path.read_text() == "Weights"


def test_why_names_the_setting_that_differs(store: Store, tmp_path: Path) -> None:
    store.put("s", {"n": 4}, versions={"torch": "2.12.0"})
    new = store.put("s", {"n": 8})
    assert lines(tool("why", "s", new.key[:6], cwd=tmp_path))[1:] == [
        f"nearest of 1 before it: s {_other(store, new)}, 2023-11-14 22:13",
        "",
        "settings.n: 4 -> 8",
        "",
        "libraries, which are no part of a key:",
        "  torch: 2.12.0 -> 2.13.0",
    ]


def _other(store: Store, ref: Ref) -> str:
    return next(path.name[:8] for path in (store.root / "s").iterdir() if path.name != ref.key)


def test_lineage_walks_a_pair_back(store: Store, tmp_path: Path) -> None:
    loop = put_loop(store, good="\x1b[2J[red]β")
    shown = tool("lineage", loop.pair.id, cwd=tmp_path)
    assert "  | \\x1b[2J[red]β" in lines(shown)
    assert "\x1b" not in shown.stdout
    (found,) = json.loads(tool("lineage", loop.pair.id[:6], "--json", cwd=tmp_path).stdout)
    assert found["policies"][1]["policy"]["name"] == "M0"
    # A terminal without the letter gets its number.
    poor = tool("lineage", loop.pair.id, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert "  | \\x1b[2J[red]\\u03b2" in lines(poor)


def test_a_lineage_that_does_not_agree_exits_1(store: Store, tmp_path: Path) -> None:
    loop = put_loop(store)
    path = store.at(loop.adapter) / "training.json"
    path.write_text(json.dumps({"adapter_sha256": "0" * 64}))
    done = tool("lineage", loop.pair.id, cwd=tmp_path)
    assert done.returncode == 1
    assert f"disagreement: the pair says that {loop.m1} wrote, its stage" in done.stdout


def test_export_writes_and_refuses_to_overwrite(store: Store, tmp_path: Path) -> None:
    loop = put_loop(store)
    command = ("export", "pairs", loop.pairs.key[:8], "p.jsonl")
    said = f"p.jsonl: pairs {loop.pairs.key[:8]}, 1 records, as JSON lines"
    assert lines(tool(*command, cwd=tmp_path)) == [said]
    refused(tool(*command, cwd=tmp_path), "p.jsonl: exists already; --force replaces it")
    assert lines(tool(*command, "--force", cwd=tmp_path)) == [said]


def test_gc_deletes_only_when_told_to(store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    loop = put_loop(store)
    refused(tool("gc", cwd=tmp_path), "no run is registered")
    store.register(tmp_path / "run", loop.adapter)
    store.leave(f"s/{'a' * 64}.corrupt-1/x", "12")
    before = sorted(store.root.rglob("*"))
    dry = lines(tool("gc", cwd=tmp_path))
    assert dry[0].startswith("would be deleted by --delete: 4, ")
    assert dry[1] == "  no registered run uses it:"
    assert [line.split()[0] for line in dry[2:6]] == ["pairs", "judgments", "candidates", "prompts"]
    assert dry[6:8] == ["stays: 1, 2 B", "  set aside as damaged; --corrupt deletes it:"]
    assert sorted(store.root.rglob("*")) == before
    young = lines(tool("gc", "--older-than", "36500", "--delete", cwd=tmp_path))
    assert young[0] == "deleted: 0, 0 B"
    assert lines(tool("gc", "--delete", "--corrupt", cwd=tmp_path))[0].startswith("deleted: 5, ")
    kept = {path.parent.name for path in store.root.glob("*/*/stage.json")}
    assert kept == {
        ref.key
        for ref in (loop.base, loop.prompts, loop.candidates, loop.judgments, loop.pairs,
                    loop.adapter)
    }  # fmt: skip
    assert lines(tool("verify", cwd=tmp_path))[0].startswith("6 stages: every file")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("list",), "store: no store can be read there (No such file or directory)"),
        (("--store", ".", "verify"), ".: is not a store"),
        (("why", "pairs", "0"), "no store can be read there"),
    ],
)
def test_what_is_no_store_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    refused(tool(*arguments, cwd=tmp_path), text)


def test_a_store_of_another_version_is_a_line_for_all_of_its_stages(
    store: Store, tmp_path: Path
) -> None:
    for x in range(3):
        ref = store.put("s", {"x": x})
        (store.at(ref) / "stage.json").write_text('{"key": "k"}')
    found = lines(tool("list", cwd=tmp_path))
    assert len(found) == 7
    assert "and 2 more: stage.json has no usable identity, parents, metrics, " in found[-1]
    refused(tool("why", "s", ref.key, cwd=tmp_path), "of another version")


def test_what_is_typed_wrong_is_explained(store: Store, tmp_path: Path) -> None:
    store.put("s", {})
    refused(tool("why", "t", "0", cwd=tmp_path), "t: no finished stage of that name; there are: s")
    refused(tool("list", "--stage", "t", cwd=tmp_path), "there are: s")
    done = tool("gc", "--older-than", "-1", cwd=tmp_path)
    assert done.returncode == 2
    assert "-1: must be a number of days, 0 or more" in done.stderr
    assert tool(cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("command", ["list", "verify", "why", "lineage", "export", "gc"])
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    done = tool(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--store DIR" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error(store: Store, tmp_path: Path) -> None:
    for x in range(200):
        store.put("s", {"x": x})
    command = f"{sys.executable} -m iterdpo.store list | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith("stage")


def test_the_tool_loads_nothing_heavy() -> None:
    code = f"import sys, iterdpo.store.__main__; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
