"""A run in a forked process, which can be killed anywhere and leaves traces of its work."""

from __future__ import annotations

import importlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.store.hashing import file_sha256

WRITES = ("fsync", "replace", "rename")


def configuration(overrides: Sequence[str], place: Path) -> Config:
    """Return the configuration of a run whose store lies in ``place``."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", overrides=[*overrides, f"store.root={place / 'store'}"]))


def data_files(store: Path) -> dict[str, str]:
    """Return the hash of every file of every finished stage but the manifests, which hold times."""
    return {
        path.relative_to(store).as_posix(): file_sha256(path)
        for path in sorted(store.glob("[!.]*/[!.]*/**/*"))
        if path.is_file() and path.name != "stage.json"
    }


def point_of(operation: str, path: Path, store: Path) -> str:
    """Name a write by what it makes: ``candidates shard replace``, ``adapter stage rename``."""
    try:
        parts = path.resolve().relative_to(store.resolve()).parts
    except ValueError:
        return f"run {path.suffix or 'directory'} {operation}"
    if len(parts) < 2 or parts[0].startswith("."):
        return f"{parts[0] if parts else 'store'} {operation}"
    inside = "/".join(parts[1:])
    kind = "shard" if "/shards" in inside else "kept" if ".work-" in inside else "stage"
    return f"{parts[0]} {kind} {operation}"


@dataclass
class Child:
    """What runs in a forked process, and the traces it leaves."""

    config: Config = field(repr=False)
    run_dir: Path
    log: Path
    engine: Callable[[Config], Any] | None = None
    """What makes the engine, where it is not the configured one."""
    other_bits: bool = False
    """Whether what the engine and the trainer compute ends in other bits, as it may on a GPU."""

    def __call__(self, kill_at: str | int | None = None) -> None:
        """Run to the end, or to the first write with this name, or of this number, from 1."""
        from iterdpo.assemble import make_engine
        from iterdpo.cli import execute as run
        from iterdpo.runtime.progress import Bar

        note = Notes(self.log)
        watch_writes(self.config.store.root, note, kill_at)
        shown = Bar.update

        def update(bar: Bar, done: int, total: int | None = None) -> None:
            if bar._unit == "step":
                note("steps", 1)
            shown(bar, done, total)

        Bar.update = update  # type: ignore[method-assign, assignment]
        if self.other_bits:
            let_adapters_differ()
        engine = Counted((self.engine or make_engine)(self.config), note, self.other_bits)
        run.execute(self.config, self.run_dir, engine)


class Notes:
    """Counts that survive the process that made them: one line each, appended at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, what: str, amount: int) -> None:
        os.write(self._file, f"{amount} {what}\n".encode())


class Counted:
    """An engine that notes what it computes."""

    def __init__(self, engine: Any, note: Notes, other_bits: bool = False) -> None:
        self._engine, self._note, self._other_bits = engine, note, other_bits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, *args: Any) -> Iterator[Any]:
        for answer in self._engine.generate(*args):
            self._note("tokens", len(answer.token_ids))
            if self._other_bits:
                nudged = tuple(value - 1e-6 for value in answer.logprobs)
                answer = replace(answer, logprobs=nudged)
            yield answer

    def choice_logprobs(self, *args: Any) -> Iterator[Any]:
        for answer in self._engine.choice_logprobs(*args):
            self._note("judgments", 1)
            yield answer


def let_adapters_differ() -> None:
    """Let this process write every adapter with other last bits than it trained."""
    import peft
    import torch

    written = peft.PeftModel.save_pretrained

    def write(self: Any, *args: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if "lora_B" in name:
                    weight.copy_(torch.nextafter(weight, torch.full_like(weight, torch.inf)))
        written(self, *args, **kwargs)

    setattr(peft.PeftModel, "save_pretrained", write)  # noqa: B010


def watch_writes(store: Path, note: Notes, kill_at: str | int | None) -> None:
    """Name every write of this process, and die before the one of that name or number."""
    numbers = count(1)
    for operation in WRITES:
        original = getattr(os, operation)

        def write(
            target: Any, *args: Any, original: Any = original, operation: str = operation, **kw: Any
        ) -> Any:
            path = args[0] if args else Path(f"/proc/self/fd/{target}").readlink()
            name = point_of(operation, Path(path), store)
            note(f"at {name}", 1)
            if kill_at in (name, next(numbers)):
                os.kill(os.getpid(), signal.SIGKILL)
            return original(target, *args, **kw)

        setattr(os, operation, write)


def forked(call: Callable[[], None], errors: Path) -> int:
    """Run ``call`` in a child and return its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with errors.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        call()
        status = 0
    finally:
        os._exit(status)


def ended(call: Callable[[], None], errors: Path) -> bool:
    """Run ``call`` in a child to its end and return whether it went well."""
    return os.waitpid(forked(call, errors), 0)[1] == 0


def counts(log: Path) -> Counter[str]:
    """Return the sums of everything noted."""
    totals: Counter[str] = Counter()
    for line in log.read_text("utf-8").splitlines() if log.is_file() else ():
        amount, what = line.split(" ", 1)
        totals[what] += int(amount)
    return totals


def preload() -> None:
    """Load the libraries once, without computing anything: threads do not survive a fork."""
    for name in ("torch", "peft", "trl", "iterdpo.training.dpo_trainer"):
        importlib.import_module(name)
