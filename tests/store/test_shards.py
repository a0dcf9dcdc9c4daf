from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iterdpo.errors import UserError
from iterdpo.records import Prompt
from iterdpo.store import shards as module
from iterdpo.store.atomic import PARTIAL_PREFIX, disk_errors_named, remove_all_but_damaged
from iterdpo.store.shards import Shards, compute_in_shards
from iterdpo.store.tables import write_records
from tests.narrowing import present

ROOT = Path(__file__).resolve().parents[2]
UNITS, PART = 10, 3  # four shards, the last of one item


class Killed(BaseException):
    """What happens to a process on SIGKILL, as far as one process can show it to itself."""


class Process:
    """Notes the steps of a run that a kill could fall between, and dies before the n-th.

    Once dead it changes nothing on the disk any more, whatever ``finally`` blocks want.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, dies_at: int | None = None) -> None:
        self.dies_at = dies_at
        self.steps: list[str] = []
        for name in ("fsync", "replace", "unlink", "rename"):
            monkeypatch.setattr(os, name, self._before(name, getattr(os, name)))
        monkeypatch.setattr(module, "write_records", self._write)

    @property
    def computed(self) -> int:
        return self.steps.count("compute")

    def _before(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            is_directory = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            self.step(f"{name} directory" if is_directory else name)
            return operation(*args, **kwargs)

        return step

    def _write(self, path: Path, *args: Any) -> Any:
        try:
            self.step("write")
        except Killed:  # in the middle of the file
            write_records(path, *args)
            os.truncate(path, path.stat().st_size // 2)
            raise
        return write_records(path, *args)

    def step(self, name: str) -> None:
        if len(self.steps) == self.dies_at:
            raise Killed
        self.steps.append(name)

    def compute(self, start: int, items: Sequence[int]) -> Iterator[list[Prompt]]:
        for item in items:
            self.step("compute")
            yield records_of(start, item)


def records_of(start: int, item: int) -> list[Prompt]:
    # None, one or two records a item, and different ones if the shard began elsewhere.
    return [Prompt(f"{start}/{item}/{n}", f"text {item}", "test") for n in range(item % 3)]


def compute(start: int, items: Sequence[int]) -> list[list[Prompt]]:
    return [records_of(start, item) for item in items]


def opened(
    directory: Path, items: int = UNITS, shard: int = PART, key: str = "key"
) -> Shards[Prompt]:
    return Shards(directory, Prompt, key, items, shard)


def run(directory: Path, how: Any = compute, items: int = UNITS, shard: int = PART) -> list[Prompt]:
    return list(compute_in_shards(opened(directory, items, shard), range(items), how))


def run_process(
    directory: Path, dies_at: int | None = None, items: int = UNITS, shard: int = PART
) -> tuple[Process, list[Prompt] | None]:
    """Run in a process of its own; return it and its records, None if it was killed."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        process = Process(monkeypatch, dies_at)
        try:
            return process, run(directory, process.compute, items, shard)
        except Killed:
            return process, None


def contents(directory: Path, pattern: str = "*") -> dict[str, bytes]:
    """Return every file that is not a leftover of a write, by name."""
    return {
        path.name: path.read_bytes()
        for path in directory.glob(pattern)
        if not path.name.startswith(PARTIAL_PREFIX)
    }


def table(directory: Path, records: list[Prompt] | None) -> bytes:
    path = directory.parent / "joined.parquet"
    write_records(path, Prompt, present(records))
    return path.read_bytes()


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, list[Prompt]]:
    """A directory with every shard, and its records."""
    directory = tmp_path / "whole" / "shards"
    return directory, run(directory)


def test_parts_hold_all_records_in_order(whole: tuple[Path, list[Prompt]]) -> None:
    directory, records = whole
    starts = [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]
    expected = [record for item in range(UNITS) for record in records_of(starts[item], item)]
    assert records == expected
    shards = opened(directory)
    assert list(shards.records()) == expected
    assert (shards.done(), shards.due()) == (UNITS, range(UNITS, UNITS))
    ranges = sorted(path.name.partition(".")[0] for path in directory.iterdir())
    assert ranges == ["00000000-00000003", "00000003-00000006", "00000006-00000009",
                      "00000009-00000010"]  # fmt: skip


def test_finished_parts_are_read_and_only_the_others_computed(
    whole: tuple[Path, list[Prompt]],
) -> None:
    directory, records = whole
    max(directory.iterdir()).unlink()  # as if it had not been reached
    asked = []

    def noting(start: Any, items: Any) -> Any:
        asked.append((start, list(items)))
        return compute(start, items)

    assert opened(directory).done() == 9
    assert run(directory, noting) == records
    assert asked == [(9, [9])]
    asked.clear()
    assert run(directory, noting) == records
    assert asked == []


def test_records_come_as_they_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    records = compute_in_shards(opened(tmp_path), range(UNITS), process.compute)
    assert [next(records), next(records)] == [*records_of(0, 1), records_of(0, 2)[0]]
    assert process.steps == ["compute"] * 3


def test_a_part_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    process, _ = run_process(tmp_path, items=1)
    assert process.steps == ["compute", "write", "fsync", "replace", "unlink", "fsync directory"]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_killed_at_any_step_goes_on_to_the_same_bytes(
    tmp_path: Path, whole: tuple[Path, list[Prompt]], damaged: bool
) -> None:
    directory, records = whole

    def prepared(name: Any) -> Any:
        again = tmp_path / name / "shards"
        if damaged:  # then the steps of setting shards aside are among those
            flip(sorted(shutil.copytree(directory, again).iterdir()))
        return again

    uninterrupted, _ = run_process(prepared("uninterrupted"))
    for dies_at in range(len(uninterrupted.steps)):
        again = prepared(str(dies_at))
        killed, nothing = run_process(again, dies_at)
        assert nothing is None
        resumed, same = run_process(again)
        assert same == records
        assert table(again, same) == table(directory, records)
        assert contents(again, "*.parquet") == contents(directory)
        assert len(contents(again)) == (7 if damaged else 4)
        assert killed.computed + resumed.computed <= uninterrupted.computed + PART


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.integers(1, 5), st.lists(st.integers(0, 30), max_size=5))
def test_any_kills_lose_a_part_each_at_most(
    tmp_path_factory: pytest.TempPathFactory, items: Any, shard: Any, kills: Any
) -> None:
    directory = tmp_path_factory.mktemp("killed") / "shards"
    computed = 0
    for dies_at in kills:
        process, _ = run_process(directory, dies_at, items, shard)
        computed += process.computed
    process, resumed = run_process(directory, None, items, shard)
    clean = directory.with_name("clean")
    assert resumed == run(clean, items=items, shard=shard)
    assert contents(directory) == contents(clean)  # a kill never looks like damage
    assert process.computed + computed <= items + len(kills) * shard


def test_a_killed_process_leaves_whole_parts(
    tmp_path: Path, whole: tuple[Path, list[Prompt]]
) -> None:
    code = """
import sys
from pathlib import Path
from tests.store.test_shards import compute, opened, compute_in_shards, UNITS
def slowly(start, items):
    for record in compute(start, items):
        print(start, flush=True)
        if start:
            sys.stdin.readline()
        yield record
list(compute_in_shards(opened(Path(sys.argv[1])), range(UNITS), slowly))
"""
    directory = tmp_path / "shards"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(4)] == ["0\n", "0\n", "0\n", "3\n"]
    process.kill()
    process.communicate()
    assert opened(directory).done() == 3
    assert run(directory) == whole[1]
    assert contents(directory) == contents(whole[0])


def flip(shards: list[Path]) -> None:
    content = bytearray(shards[1].read_bytes())
    content[len(content) // 2] ^= 1
    shards[1].write_bytes(content)


def shift(shards: list[Path]) -> None:
    # The third shard says that it were the second.
    range_of_second = shards[1].name.partition(".")[0]
    shards[1].unlink()
    shards[2].rename(shards[2].with_name(range_of_second + shards[2].name[len(range_of_second) :]))


def directory_instead(shards: list[Path]) -> None:
    shards[1].unlink()
    shards[1].mkdir()


@pytest.mark.parametrize(
    ("damage", "said", "left"),
    [
        (flip, "sha256 differs", 3),
        (lambda shards: os.truncate(shards[1], shards[1].stat().st_size - 1), "sha256 differs", 3),
        (lambda shards: shards[1].write_bytes(b""), "sha256 differs", 3),
        (lambda shards: shards[1].write_bytes(shards[2].read_bytes()), "sha256 differs", 3),
        (shift, "sha256 differs", 2),
        (lambda shards: shards[1].rename(shards[1].with_suffix(".x.parquet")), "sha256 differs", 3),
        (
            lambda shards: shards[1].rename(shards[1].with_name("00001.parquet")),
            "is not the shard",
            3,
        ),
        (lambda shards: shards[1].unlink(), "is not the shard that is due", 2),
        (directory_instead, "cannot be read (Is a directory)", 3),
    ],
)
def test_a_damaged_part_is_named_set_aside_and_computed_again(
    whole: tuple[Path, list[Prompt]],
    caplog: pytest.LogCaptureFixture,
    damage: Any,
    said: str,
    left: int,
) -> None:
    directory, records = whole
    before = contents(directory)
    damage(sorted(directory.iterdir()))
    wrong = sorted(directory.iterdir())[1:]
    assert opened(directory).done() == 3
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert str(wrong[0]) in warning.message
    assert said in warning.message
    assert "items from 3 on are computed again" in warning.message
    aside = sorted(directory.glob("*.corrupt-*"))
    assert aside == [path.with_name(f"{path.name}.corrupt-1") for path in wrong]
    assert len(aside) == left
    assert run(directory) == records
    assert contents(directory, "*.parquet") == before
    assert sorted(directory.glob("*.corrupt-*")) == aside


def test_a_part_damaged_again_keeps_both_copies(whole: tuple[Path, list[Prompt]]) -> None:
    directory, records = whole
    for content in (b"one", b"two"):
        last = max(directory.glob("*.parquet"))
        last.write_bytes(content)
        assert run(directory) == records
    copies = [last.with_name(f"{last.name}.corrupt-{n}").read_bytes() for n in (1, 2)]
    assert copies == [b"one", b"two"]


@pytest.mark.parametrize(
    ("opening", "kept"),
    [
        ({"key": "another"}, 0),
        ({"shard": 4}, 0),
        ({"items": 9}, 9),
        ({"items": 11}, 9),
        ({"items": 0}, 0),
    ],
)
def test_parts_of_another_key_or_division_are_not_used(
    whole: tuple[Path, list[Prompt]],
    caplog: pytest.LogCaptureFixture,
    opening: dict[str, Any],
    kept: int,
) -> None:
    directory, _ = whole
    assert opened(directory, **opening).done() == kept
    assert len(caplog.records) == 1
    assert len(list(directory.glob("*.corrupt-1"))) == 4 - kept // 3


def test_a_part_that_another_user_keeps_to_himself_is_no_damage(
    whole: tuple[Path, list[Prompt]], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, _ = whole
    before = contents(directory)

    def forbidden(path: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(module, "file_sha256", forbidden)
    with pytest.raises(UserError, match=r"0000003\..*cannot be read.*Permission denied"):
        opened(directory)
    assert contents(directory) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_ends_in_one_line_and_leaves_nothing_half_written(
    tmp_path: Path,
    whole: tuple[Path, list[Prompt]],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    step: str,
) -> None:
    directory = tmp_path / "full" / "shards"
    opened(directory).append([record for made in compute(0, range(PART)) for record in made])
    (finished,) = directory.iterdir()

    def full(path: Any, *args: Any) -> None:
        if step == "write":
            Path(path).write_bytes(b"PAR1 and not much more")
        raise OSError(code, os.strerror(code))

    target = (module, "write_records") if step == "write" else (os, step)
    with monkeypatch.context() as patch:
        patch.setattr(*target, full)
        with pytest.raises(UserError) as caught:
            run(directory)
    text = str(caught.value)
    assert str(directory) in text
    assert os.strerror(code) in text
    assert "B free)" in text
    assert "make room and run the same command again" in text
    assert "\n" not in text
    assert list(directory.iterdir()) == [finished]
    assert run(directory) == whole[1]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_disk_that_may_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def forbidden(path: Any, *_: Any) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "mkdir", forbidden)
    with pytest.raises(UserError, match=r"shards: cannot be read and written \(.*store\.root="):
        opened(tmp_path / "shards")


class SafetensorError(Exception):
    """Named as the library's, which is no OSError."""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, r"the disk is full .*: make room and run"),
        (errno.EFBIG, r"a file may not grow as large there .*ulimit -f"),
    ],
)
def test_weights_that_do_not_fit_on_the_disk_are_a_line(
    tmp_path: Path, code: int, said: str
) -> None:
    text = f"Error while serializing: I/O error: {os.strerror(code)} (os error {code})"
    with pytest.raises(UserError, match=said), disk_errors_named(tmp_path):
        raise SafetensorError(text)
    with pytest.raises(ValueError, match="os error"), disk_errors_named(tmp_path):
        raise ValueError(text)


def test_the_library_says_it_so(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError), disk_errors_named(tmp_path):
        save_file({"a": torch.zeros(1)}, tmp_path / "none" / "file")


def test_other_errors_come_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output") as caught, disk_errors_named(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert not isinstance(caught.value, UserError)
    with pytest.raises(RuntimeError, match="half way"):
        run(tmp_path, lambda start, items: (_ for _ in ()).throw(RuntimeError("half way")))
    assert list(tmp_path.iterdir()) == []


def test_cleared_parts_are_gone_and_what_was_set_aside_is_not(
    whole: tuple[Path, list[Prompt]],
) -> None:
    directory, _ = whole
    (directory / f"{PARTIAL_PREFIX}1").write_text("left by a kill")
    sorted(directory.iterdir())[-1].write_bytes(b"")
    opened(directory)
    remove_all_but_damaged(directory)
    (aside,) = directory.iterdir()
    assert ".corrupt-1" in aside.name
    aside.unlink()
    remove_all_but_damaged(directory)
    assert not directory.exists()
    remove_all_but_damaged(directory)


def test_wrong_use_is_refused(whole: tuple[Path, list[Prompt]]) -> None:
    directory, _ = whole
    with pytest.raises(ValueError, match="all 10 items are finished"):
        opened(directory).append([])
    with pytest.raises(ValueError, match="9 items for shards of 10"):
        next(compute_in_shards(opened(directory), range(9), compute))
    for items, shard in [(-1, 3), (3, 0)]:
        with pytest.raises(ValueError, match="items in shards of"):
            opened(directory, items, shard)
