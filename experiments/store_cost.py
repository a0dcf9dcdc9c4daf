"""What the store itself costs of a run: hashing, flushing, Parquet, locks and the registry.

``python -m experiments.store_cost`` measures how long the hash of a checkpoint takes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hydra import compose, initialize_config_dir

from iterdpo.cli import execute as run
from iterdpo.config.compose import conf_directory, typed
from iterdpo.store.hash_cache import HashCache
from iterdpo.store.hashing import file_sha256, files_sha256

STORE_CALLS = (
    "iterdpo.stages.base.write_records", "iterdpo.stages.base.read_records",
    "iterdpo.stages.pairs.write_records", "iterdpo.stages.pairs.read_records",
    "iterdpo.stages.train.write_records",
    "iterdpo.store.shards.write_records", "iterdpo.store.shards.read_records",
    "iterdpo.store.shards.file_sha256", "iterdpo.store.shards.sync",
    "iterdpo.store.runner._file_hashes", "iterdpo.store.runner.verify",
    "iterdpo.store.runner.write_text", "iterdpo.store.runner.remove_all_but_damaged",
    "iterdpo.store.atomic.sync", "iterdpo.store.registry.write_text",
    "iterdpo.store.locks._acquired", "iterdpo.training.checkpoints.Checkpoints.write",
)  # fmt: skip


class Watch:
    """Adds up the time in some functions; one that is called by another counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``call``, watched."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return call(*args, **kwargs)
            self._inside, began = True, time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - began

        return watched


def store_share(scratch: Path) -> tuple[float, float]:
    """Run one iteration of the lab into an empty store.

    Returns:
        The share of its wall time in [0, 1] that the store took, and the wall time in seconds.
    """
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = typed(
            compose(
                "config",
                overrides=["iterations=1", "tracking=none", "report=false", "engine.device=cpu",
                           f"store.root={scratch / 'cost'}"],
            )
        )  # fmt: skip
    watch = Watch()
    with ExitStack() as stack:
        for name in STORE_CALLS:
            target, _, attribute = name.rpartition(".")
            original = getattr(_resolved(target), attribute)
            stack.enter_context(patch(name, watch.timed(original)))
        began = time.perf_counter()
        run.execute(config, scratch / "cost-run")
        wall = time.perf_counter() - began
    return watch.seconds / wall, wall


def _resolved(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        parent, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(parent), attribute)


def hashing_seconds(scratch: Path, files: int = 4, size: int = 2**28) -> tuple[float, float, float]:
    """Hash files of ``size`` bytes in turn, several at a time, and as remembered.

    Returns:
        Seconds of each, the medians of 5 turns. The files are in the system's cache.
    """
    paths = [scratch / f"model-{number}.safetensors" for number in range(files)]
    for path in paths:
        path.write_bytes(bytes(size))
    later = time.time_ns() + 10**11  # as if the files had been there for a while
    cache = HashCache(scratch / "store", clock=lambda: later)
    ways: list[Callable[[], object]] = [
        lambda: [file_sha256(path) for path in paths],
        lambda: files_sha256(scratch, paths),
        lambda: files_sha256(scratch, paths, cache.file_sha256),
    ]
    ways[2]()
    turns = [[_seconds(way) for way in ways] for _ in range(5)]
    in_turn, side_by_side, remembered = map(statistics.median, zip(*turns, strict=True))
    return in_turn, side_by_side, remembered


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    """Print the times of ``hashing_seconds``."""
    with tempfile.TemporaryDirectory() as scratch:
        in_turn, side_by_side, remembered = hashing_seconds(Path(scratch))
    sys.stdout.write(
        f"1 GiB in 4 files: {in_turn:.2f} s in turn, {side_by_side:.2f} s several at a time, "
        f"{1000 * remembered:.1f} ms remembered\n"
    )


if __name__ == "__main__":
    main()
