"""A result holds as long as what it was made from is what it was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.store.hashing import sha256_of
from iterdpo.store.manifest import manifest_text
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stored, Work


@dataclass
class Write:
    """A stage that writes a text which its settings do not tell, as a GPU would, and counts."""

    name: str
    text: str = "text"
    runs: list[str] = field(default_factory=list)
    begin: Any = None
    """Called with the work when it computes."""

    version = 1

    @property
    def settings(self) -> dict[str, object]:
        return {}

    def compute(self, work: Work, *args: Any, **kwargs: Any) -> dict[str, object]:
        self.runs.append(self.name)
        (work.directory / "text.txt").write_text(self.text)
        if self.begin:
            self.begin(work)
        return {}

    def load(self, directory: Path, *args: Any, **kwargs: Any) -> str:
        return (directory / "text.txt").read_text()


def damage(stored: Stored[Any]) -> None:
    (stored.directory / "text.txt").write_text("damaged")


def names(root: Path) -> list[str]:
    return sorted(path.name[64:] or "whole" for path in root.glob("[!.]*/*"))


def chain(root: Path, base: str = "1", adapter: str = "2", answers: str = "3") -> Any:
    """Run answers of an adapter of a base; return what ran and the last result."""
    stages, runs = Stages(root), list[str]()
    first = stages.run(Write("base", base, runs))
    second = stages.run(Write("adapter", adapter, runs), first)
    third = stages.run(Write("answers", answers, runs), second)
    return runs, (first, second, third)


def test_a_stage_records_the_files_of_its_parents_and_what_those_were_made_from(
    tmp_path: Path,
) -> None:
    _, (first, second, third) = chain(tmp_path)
    base = sha256_of({"files": {"text.txt": sha256(b"1")}, "parents": {}})
    adapter = {"files": {"text.txt": sha256(b"2")}, "parents": {f"base/{first.key}": base}}
    assert first.manifest["parents"] == {}
    assert second.manifest["parents"] == {f"base/{first.key}": base}
    assert third.manifest["parents"] == {f"adapter/{second.key}": sha256_of(adapter)}
    assert (first.result_sha256, second.result_sha256) == (base, sha256_of(adapter))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_same_bytes_leave_what_was_made_from_them(tmp_path: Path) -> None:
    _, (first, _, _) = chain(tmp_path)
    damage(first)
    runs, _ = chain(tmp_path)
    assert runs == ["base"]
    assert names(tmp_path) == [".corrupt-1", "whole", "whole", "whole"]


def test_other_bytes_set_aside_what_was_made_from_them_and_so_on_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, (first, second, _) = chain(tmp_path)
    damage(first)
    # The adapter comes out the same, but stands on another base: its answers are others' too.
    runs, stored = chain(tmp_path, base="other")
    assert runs == ["base", "adapter", "answers"]
    assert [item.value for item in stored] == ["other", "2", "3"]
    assert names(tmp_path) == [".corrupt-1"] * 3 + ["whole"] * 3
    for child, parent in (second, first), (stored[2], second):
        assert (
            f"{child.directory} was made from another result of {parent.ref.short} than there is "
            f"now; set aside as {child.key}.corrupt-1, computed again"
        ) in caplog.text
    assert chain(tmp_path)[0] == []


def test_a_stage_of_an_older_store_that_does_not_say_what_it_was_made_from_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, (first, second, third) = chain(tmp_path)
    path = third.directory / "stage.json"
    path.write_text(manifest_text(dict(third.manifest) | {"parents": {}}))
    assert chain(tmp_path)[0] == ["answers"]
    assert f"does not record of which result of adapter {second.key[:8]} it was made" in caplog.text
    path = first.directory / "stage.json"
    path.write_text(manifest_text({n: v for n, v in first.manifest.items() if n != "parents"}))
    assert chain(tmp_path)[0] == ["base"]


@dataclass(frozen=True)
class Named:
    """Results by name."""

    one: Any
    none: Any = None


@pytest.mark.parametrize("place", ["args", "tuple", "kwargs", "dataclass"])
def test_a_parent_counts_wherever_it_stands_among_the_arguments(tmp_path: Path, place: str) -> None:
    def run(text: str) -> list[str]:
        stages, runs = Stages(tmp_path), list[str]()
        first = stages.run(Write("first", "1", runs))
        second = stages.run(Write("second", text, runs))
        args: dict[str, Any] = {
            "args": (None, 1, second),
            "tuple": ((first, [second]),),
            "kwargs": (),
            "dataclass": (Named((second, None)),),
        }
        stages.run(Write("child", "3", runs), *args[place], last={"x": second, "y": None})
        return runs

    assert run("2") == ["first", "second", "child"]
    (directory,) = (tmp_path / "second").iterdir()
    (directory / "text.txt").unlink()
    assert run("2") == ["second"]
    (directory / "text.txt").unlink()
    assert run("other") == ["second", "child"]


def test_unfinished_work_of_other_results_goes_and_what_was_set_aside_in_it_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[list[str]] = []

    def fail(work: Work) -> None:
        seen.append(sorted(path.name for path in work.kept.glob("*")))
        work.kept.mkdir(parents=True, exist_ok=True)
        (work.kept / "half").write_text("half")
        (work.kept / "wrong.corrupt-1").write_text("damaged")
        raise RuntimeError

    def run(text: str) -> Stored[str]:
        stages = Stages(tmp_path)
        parent = stages.run(Write("parent", text))
        with pytest.raises(RuntimeError):
            stages.run(Write("child", begin=fail), parent)
        return parent

    damage(run("1"))
    assert run("1").computed
    assert caplog.text.count("unfinished work of other results") == 0
    damage(run("1"))
    run("other")
    assert seen == [[], *[["half", "wrong.corrupt-1"]] * 2, []]
    assert caplog.text.count("unfinished work of other results than there are now was removed") == 1
    left = sorted(path.name for path in (tmp_path / "child").rglob("*") if path.is_file())
    assert left == ["half", "wrong.corrupt-1", "wrong.corrupt-1"]
    run("other")
    assert caplog.text.count("unfinished work of other results") == 1


def another_run(root: Path, parent: Stored[Any]) -> Stored[Any]:
    """Let another process find the parent damaged, and compute it again as something else."""
    damage(parent)
    return Stages(root).run(Write("parent", "other"))


def test_a_parent_that_another_run_gives_another_result_meanwhile_ends_the_run(
    tmp_path: Path,
) -> None:
    stages = Stages(tmp_path)
    parent = stages.run(Write("parent", "1"))
    child = stages.run(Write("child"), parent)
    made = Stages(tmp_path).run(Write("child"), another_run(tmp_path, parent))
    assert made.key == child.key
    assert made.computed
    # This run still holds the first result: what it has not is computed, or replaced, from neither.
    for name in ("child", "unheard"):
        with pytest.raises(UserError, match="no longer the result that this run has read"):
            stages.run(Write(name), parent)
    assert list((tmp_path / "unheard").iterdir()) == []
    # What the other run made is still there.
    newer = Stages(tmp_path)
    assert not newer.run(Write("child"), newer.run(Write("parent"))).computed


def test_what_was_made_from_a_result_that_has_gone_since_is_not_kept(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    parent = stages.run(Write("parent", "1"))
    slow = Write("child", begin=lambda work: another_run(tmp_path, parent))
    with pytest.raises(UserError, match="no longer the result that this run has read"):
        stages.run(slow, parent)
    assert list((tmp_path / "child").iterdir()) == []


def test_a_result_without_files_or_parents_is_still_one(tmp_path: Path) -> None:
    class Nothing(Write):
        def compute(self, work: Work, *args: Any, **kwargs: Any) -> dict[str, object]:
            return {}

    stored = Stages(tmp_path).run(Nothing("nothing"))
    assert stored.result_sha256 == sha256_of({"files": {}, "parents": {}})
