"""What may happen to a finished run: started again, cleared up beside, exported, shared, damaged.

Nothing of it may be lost, and nothing mixed: after every event its files are those of before, or,
where damage came back with other bits, every record names what is there.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from experiments.torture_child import Child, counts, data_files, ended, forked
from iterdpo.store.hashing import file_sha256
from tests.tools.hub.standin import TOKEN, StandIn


@dataclass(repr=False)
class FinishedRun:
    """A run that came to its end, and what it must still be after every event."""

    child: Child
    errors: Path
    rng: random.Random
    failures: list[str]
    events: Counter[str]
    """How often each kind has happened."""
    hub: StandIn
    killed_within: float = 1.5
    """Seconds in which an export is killed; some end before. Others have a multiple of it."""

    def __post_init__(self) -> None:
        self.store, self.run_dir = self.child.config.store.root, self.child.run_dir
        self.kinds = (
            self.start_again_and_kill, self.replay_beside_gc, self.kill_export, self.kill_upload,
            self.kill_report, self.damage,
        )  # fmt: skip
        self._look()
        before = writes(self.child)
        self._require(self.child)
        self._writes = writes(self.child) - before
        """Of a replay."""

    def start_again_and_kill(self) -> None:
        """Start the run again, kill it at a write, and delete what no run needs."""
        at = self.rng.randint(1, self._writes)
        if ended(partial(self.child, at), self.errors):
            self.failures.append(f"a replay did not come to write {at}")
        self._require(partial(run_tool, "store", ["--store", str(self.store), "gc", "--delete"]))
        self._require_same()

    def replay_beside_gc(self) -> None:
        """Replay the run while another process deletes what no run needs."""
        replay = forked(self.child, self.errors)
        while not os.waitpid(replay, os.WNOHANG)[0]:
            self._require(
                partial(run_tool, "store", ["--store", str(self.store), "gc", "--delete"])
            )
        self._require(self.child)
        self._require_same()

    def kill_export(self) -> None:
        """Kill an export: there is a whole checkpoint or none."""
        out = self.run_dir.parent / f"export-{self.events.total()}"
        export = partial(run_tool, "export", [str(self.run_dir), "--out", str(out)])
        self._killed(export)
        if not out.exists():
            self._require(export)
        made = {path.name: file_sha256(path) for path in out.iterdir()}
        if made != self._exported:
            self.failures.append(f"{out}: is not the checkpoint that was exported before")
        self._require_same()

    def kill_upload(self) -> None:
        """Kill an upload: a repository is whole or empty, and no weights are sent twice."""
        self.hub.forget()
        self._killed(self._upload, times=2)
        for where, repo in self.hub.repos.items():
            if repo["files"] not in ({}, self.uploaded[where]):
                self.failures.append(f"{where}: holds a part of an upload")
        self._require(self._upload)
        if self._on_the_hub() != self.uploaded:
            self.failures.append("an upload that was killed comes to other files")
        if len(self.hub.sent) != len(set(self.hub.sent)):
            self.failures.append("an upload sends again what had arrived")
        self._require_same()

    def kill_report(self) -> None:
        """Kill the writing of the page: it is there as a whole."""
        page = self.run_dir / "report.html"
        report = partial(run_tool, "report", [str(self.run_dir)])
        self._killed(report)
        if page.exists() and not page.read_text("utf-8").rstrip().endswith("</html>"):
            self.failures.append(f"{page}: is half a page")
        self._require(report)
        self._require_same()

    def damage(self) -> None:
        """Damage a file; what comes back may end in other bits, and the way there be killed."""
        files = [self.store / name for name in self._data]
        file = self.rng.choice([*files, *(path.parent / "stage.json" for path in files[::4])])
        data = file.read_bytes() if file.is_file() else b""
        at = self.rng.randrange(max(len(data), 1))
        flipped = (data[at : at + 1] or b"\0")[0] ^ 1
        self.rng.choice((  # a file may be empty
            file.unlink,
            lambda: file.write_bytes(data[:at]),
            lambda: file.write_bytes(data[:at] + bytes([flipped]) + data[at + 1 :]),
        ))()  # fmt: skip
        for _ in range(self.rng.randrange(3)):
            self._killed(self._of_other_bits(), times=3)
        self._require(self._of_other_bits())
        self._require(partial(require_consistent, self.store, self.run_dir))
        self._look()

    def _of_other_bits(self) -> Child:
        return replace(self.child, other_bits=self.rng.random() < 0.5)

    def _look(self) -> None:
        """Take what is there now for what must stay."""
        self._data, self._summary = self._files(), read_lasting(self.run_dir / "summary.json")
        out = self.run_dir.parent / f"exported-{self.events.total()}"
        self._require(partial(run_tool, "export", [str(self.run_dir), "--out", str(out)]))
        self._exported = {path.name: file_sha256(path) for path in out.iterdir()}
        self.hub.forget()
        self._require(self._upload)
        self.uploaded = self._on_the_hub()

    def _upload(self) -> None:
        from huggingface_hub import constants

        os.environ["HF_TOKEN"] = TOKEN
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_XET = False, True  # whole files
        arguments = [str(self.run_dir), "--repo", "me/run", "--models", "all"]
        run_tool("hub", [*arguments, "--endpoint", self.hub.url])

    def _on_the_hub(self) -> dict[tuple[str, str], dict[str, bytes]]:
        return {where: dict(repo["files"]) for where, repo in self.hub.repos.items()}

    def _files(self) -> dict[str, str]:
        found = data_files(self.store)
        return {name: sha256 for name, sha256 in found.items() if ".corrupt-" not in name}

    def _killed(self, call: Callable[[], None], times: int = 1) -> None:
        process = forked(call, self.errors)
        time.sleep(self.rng.uniform(0.0, times * self.killed_within))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)

    def _require(self, call: Callable[[], None]) -> None:
        if not ended(call, self.errors):
            self.failures.append(f"{call} failed after {dict(self.events)}: {self.errors}")

    def _require_same(self) -> None:
        if self._files() != self._data:
            self.failures.append(f"{self.store}: other data after {dict(self.events)}")
        if read_lasting(self.run_dir / "summary.json") != self._summary:
            self.failures.append(f"{self.run_dir}: another summary after {dict(self.events)}")


def writes(child: Child) -> int:
    """Return how many writes all starts of a child have come to."""
    return sum(times for what, times in counts(child.log).items() if what.startswith("at "))


def read_lasting(summary: Path) -> Any:
    """Return a summary but for the time that the last start took."""
    values = json.loads(summary.read_text("utf-8"))
    del values["run"]["wall_seconds"]
    return values


def run_tool(name: str, arguments: Sequence[str]) -> None:
    """Run ``python -m iterdpo.<name>`` in this process; raise ``RuntimeError`` where it fails."""
    import importlib

    status = importlib.import_module(f"iterdpo.tools.{name}.__main__").main(arguments)
    if status:
        raise RuntimeError(f"iterdpo.{name} {' '.join(arguments)}: exit status {status}")


def require_consistent(store: Path, run_dir: Path) -> None:
    """Raise ``RuntimeError`` where a file is damaged, or a record names what is not there."""
    from iterdpo.runs.directory import Run
    from iterdpo.store.inventory import read_store
    from iterdpo.tools.store.integrity import problems

    found = [str(item) for some in problems(read_store(store)) for item in some]
    run = Run.open(run_dir)
    policies = run.policies
    for number, _ in enumerate(run.summary.iterations):
        made, writer = run.made(number + 1), policies[f"M{number}"].fingerprint
        candidates = {item.id: item for item in made.candidates}
        if {item.policy for item in made.candidates} != {writer}:
            found.append(f"iteration {number + 1}: candidates of another policy")
        if {item.candidate_id for item in made.judgments} != set(candidates):
            found.append(f"iteration {number + 1}: judgments of other candidates")
        for pair in made.pairs:
            chosen, rejected = candidates.get(pair.chosen_id), candidates.get(pair.rejected_id)
            if not (chosen and rejected and chosen.text == pair.chosen):
                found.append(f"iteration {number + 1}: pair {pair.id} of other candidates")
    if found:
        raise RuntimeError("; ".join(found))
