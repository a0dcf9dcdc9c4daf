"""Remembered hashes: of files that nobody wrote since, and of no other."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from iterdpo.store import hash_cache
from iterdpo.store.hash_cache import GRANULARITY_NS, HASHES_DIR, HashCache
from iterdpo.store.hashing import file_sha256, files_sha256, hashes_of
from iterdpo.store.runner import Stages
from iterdpo.tools.store.__main__ import parser
from tests.store.test_runner import Add

LATER = 10 * GRANULARITY_NS


@dataclass
class Reads:
    """Which files were read for their hashes."""

    files: list[str] = field(default_factory=list)
    while_reading: Callable[[Path], object] = lambda path: None

    def file_sha256(self, path: Path) -> str:
        self.files.append(path.name)
        digest = file_sha256(path)
        self.while_reading(path)
        return digest


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    seen = Reads()
    monkeypatch.setattr(hash_cache, "file_sha256", seen.file_sha256)
    return seen


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"first")
    return path


def changed_at(path: Path) -> int:
    status = path.stat()
    return max(status.st_mtime_ns, status.st_ctime_ns)


def cache_of(path: Path, after_ns: int = LATER, large: int = 1) -> HashCache:
    """Return a cache that begins to read ``after_ns`` behind the file's last change."""
    return HashCache(path.parent / "store", large, lambda: changed_at(path) + after_ns)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file_that_nobody_wrote_is_read_once(weights: Path, reads: Reads) -> None:
    link = weights.with_name("link.safetensors")
    link.symlink_to(weights)
    for path in (weights, weights, link):
        assert cache_of(weights).file_sha256(path) == sha256(b"first")
    assert reads.files == ["model.safetensors"]


def test_small_files_are_read_every_time(weights: Path, reads: Reads) -> None:
    for _ in range(2):
        cache_of(weights, large=6).file_sha256(weights)
    assert len(reads.files) == 2
    assert not (weights.parent / "store").exists()


def replaced(path: Path) -> None:
    """Put a file of the same size and time in the place of another."""
    status, other = path.stat(), path.with_name("other")
    other.write_bytes(b"other")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def rewritten(path: Path) -> None:
    """Write other bytes of the same size, and say so by the time of writing alone."""
    status = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [replaced, rewritten])
def test_a_file_of_the_same_size_with_other_bytes_is_read_again(
    change: Callable[[Path], None], weights: Path, reads: Reads
) -> None:
    assert cache_of(weights).file_sha256(weights) == sha256(b"first")
    change(weights)
    for _ in range(2):
        assert cache_of(weights).file_sha256(weights) == sha256(b"other")
    assert len(reads.files) == 2


@pytest.mark.parametrize("after_ns", [-LATER, 0, GRANULARITY_NS])
def test_what_was_written_within_the_clock_s_granularity_is_not_remembered(
    after_ns: int, weights: Path, reads: Reads
) -> None:
    # What is written next may bear the same time, so that the status would not tell.
    for _ in range(2):
        cache_of(weights, after_ns).file_sha256(weights)
    assert len(reads.files) == 2
    for _ in range(2):
        cache_of(weights, GRANULARITY_NS + 1).file_sha256(weights)
    assert len(reads.files) == 3


def test_what_is_written_while_it_is_read_is_not_remembered(weights: Path, reads: Reads) -> None:
    reads.while_reading = rewritten
    cache_of(weights).file_sha256(weights)
    reads.while_reading = lambda path: None
    assert cache_of(weights).file_sha256(weights) == sha256(b"other")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "\x00" * len(text),
        lambda text: text.replace(sha256(b"first"), sha256(b"lie")),
        lambda text: json.dumps(json.loads(text) | {"sha256": 7}),
        lambda text: "[" * 100_000,
    ],
)
def test_a_damaged_entry_counts_as_missing_and_is_written_anew(
    damage: Callable[[str], str], weights: Path, reads: Reads
) -> None:
    cache_of(weights).file_sha256(weights)
    (entry,) = (weights.parent / "store" / HASHES_DIR).iterdir()
    entry.write_text(damage(entry.read_text()))
    for _ in range(2):
        assert cache_of(weights).file_sha256(weights) == sha256(b"first")
    assert len(reads.files) == 2


def test_a_cache_that_cannot_be_written_is_left_out(weights: Path) -> None:
    (weights.parent / "store").write_text("a file in the place of the store")
    assert cache_of(weights).file_sha256(weights) == sha256(b"first")


def test_files_that_are_read_at_a_time_have_the_hash_of_files_read_in_turn(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:02d}" for number in range(20)]
    for path in paths:
        path.write_text(path.name)
    assert list(hashes_of(paths)) == [sha256(path.name.encode()) for path in paths]
    assert files_sha256(tmp_path, paths, HashCache(tmp_path, large=1).file_sha256) == (
        files_sha256(tmp_path, paths)
    )
    paths[3].unlink()
    with pytest.raises(FileNotFoundError, match="03"):
        list(hashes_of(paths))


def test_stages_are_read_by_remembered_hashes_and_verified_by_their_bytes(
    tmp_path: Path,
    reads: Reads,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "store"
    stored = Stages(root).run(Add(2), 3)
    file = next(path for path in stored.directory.iterdir() if path.name != "stage.json")
    monkeypatch.setattr(
        "iterdpo.store.runner.HashCache",
        lambda place: HashCache(place, 1, lambda: changed_at(file) + LATER),
    )
    reads.files.clear()
    for _ in range(2):
        assert not Stages(root).run(Add(2), 3).computed
    assert reads.files == [file.name]
    # Rot on the disk moves no time: only reading finds it.
    entry = next((root / HASHES_DIR).iterdir())
    file.write_bytes(bytes(len(file.read_bytes())))
    values = json.loads(entry.read_text())
    del values["checksum"]
    status = hash_cache._status(file, file.stat())
    entry.write_text(json.dumps(hash_cache._signed({**values, **status})))
    assert not Stages(root).run(Add(2), 3).computed
    verify = parser().parse_args(["--store", str(root), "verify"])
    assert verify.command(verify) == 1
    assert f"{file.name}: differs from what was written" in capsys.readouterr().out
    assert Stages(root).run(Add(2), 3).computed  # verifying forgets what was remembered
