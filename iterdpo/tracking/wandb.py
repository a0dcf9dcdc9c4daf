"""Weights & Biases: one run, with the iteration as its step axis."""

from __future__ import annotations

import logging
import netrc
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from iterdpo.store.atomic import write_text
from iterdpo.tracking.plain import cell, plain, without_secrets

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

Mode = Literal["auto", "online", "offline", "disabled"]

ID_FILE = "wandb-run-id"
INIT_SECONDS = 20.0  # how long an unreachable server may delay the start
FINISH_SECONDS = 60.0  # and the end; what was not uploaded stays on disk for `wandb sync`


class WandbTracker:
    """Writes to W&B online, or to files that ``wandb sync`` uploads later.

    Args:
        directory: W&B's files go below it; it is created.
        project: The W&B project.
        entity: User or team; None for the user's default.
        mode: ``auto`` is what ``WANDB_MODE`` says, else online for a user who is logged in and
            offline for others. An online run whose server cannot be reached goes on offline.
        group: Used when ``start`` names none.
        tags: Words to find the run by.
    """

    def __init__(
        self,
        directory: Path,
        project: str,
        entity: str | None = None,
        mode: Mode = "auto",
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        self.directory, self.project, self.entity = directory, project, entity
        self.mode, self.group, self.tags = mode, group, tuple(tags)
        self._run: wandb.Run | None = None

    def start(self, config: Mapping[str, object], run_name: str, group: str | None) -> None:
        """Open the run; a run continued in the same directory goes on under the same id."""
        mode = resolve_mode(self.mode, os.environ)
        settings = without_secrets(config)
        group = group or self.group
        try:
            self._run = self._open(mode, settings, run_name, group)
        except Exception as error:
            if mode != "online":
                raise
            reason = " ".join(str(error).split())
            log.warning("tracking: W&B cannot be used online (%s); going on offline", reason)
            # The failed attempt keeps its id until the process ends.
            self._id_file.unlink(missing_ok=True)
            self._run = self._open("offline", settings, run_name, group)
        _forget_imports()
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        """Log numbers of an iteration."""
        self._opened().log({**values, "iteration": iteration})

    def samples(self, iteration: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Log a table of an iteration under ``samples``; no rows, no table."""
        import wandb

        if not rows:
            return
        columns: list[str | int] = list(dict.fromkeys(name for row in rows for name in row))
        data = [[cell(row.get(str(name))) for name in columns] for row in rows]
        with _surroundings(self.directory):
            table = wandb.Table(columns=columns, data=data, allow_mixed_types=True)
            self._opened().log({"iteration": iteration, "samples": table})

    def finish(self, summary: Mapping[str, object]) -> None:
        """Write the summary and close the run."""
        run = self._opened()
        run.summary.update(plain(summary))
        run.finish()
        self._run = None

    def abandon(self) -> None:
        """Take W&B's own hooks for the end of the process back: they would raise once more."""
        import wandb

        wandb.teardown()

    @property
    def _id_file(self) -> Path:
        return self.directory / ID_FILE

    def _opened(self) -> wandb.Run:
        if self._run is None:
            raise RuntimeError("the tracker is used outside start() and finish()")
        return self._run

    def _open(
        self,
        mode: Literal["online", "offline", "disabled"],
        config: Mapping[str, object],
        run_name: str,
        group: str | None,
    ) -> wandb.Run:
        import wandb

        self.directory.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
        )
        with _surroundings(self.directory):
            return wandb.init(
                dir=str(self.directory),
                project=self.project,
                entity=self.entity,
                mode=mode,
                name=run_name,
                group=group,
                tags=self.tags,
                config=dict(config),
                id=_run_id(self._id_file),
                resume="allow" if mode == "online" else None,
                # Runs of a sweep may share a process; none may end another.
                reinit="create_new",
                settings=settings,
            )


def _forget_imports() -> None:
    """Take W&B's telemetry of imports away: with its process dead, every import would fail."""
    from wandb.sdk.lib import import_hooks

    import_hooks.unregister_all_post_import_hooks()


def take_over(stopped: Path, run_dir: Path) -> None:
    """Let the run in ``run_dir`` go on as the W&B run that was stopped, if that had one."""
    name = stopped / ID_FILE
    if name.is_file() and not (run_dir / ID_FILE).exists():
        write_text(run_dir / ID_FILE, name.read_text("utf-8"))


def resolve_mode(
    mode: Mode, environment: Mapping[str, str]
) -> Literal["online", "offline", "disabled"]:
    """Return the mode that ``auto`` stands for, without touching the network."""
    if mode != "auto":
        return mode
    match environment.get("WANDB_MODE", ""):
        case "online":
            return "online"
        case "offline" | "dryrun":
            return "offline"
        case "disabled":
            return "disabled"
    return "online" if logged_in(environment) else "offline"


def logged_in(environment: Mapping[str, str]) -> bool:
    """Tell whether W&B would find credentials: a key in the environment or the netrc file."""
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = urlsplit(environment.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    home = Path(environment.get("HOME", "~")).expanduser()
    named = environment.get("NETRC")
    files = [Path(named).expanduser()] if named else [home / ".netrc", home / "_netrc"]
    for file in files:
        try:
            entry = netrc.netrc(file).authenticators(server)
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
            continue
        if entry and entry[2]:
            return True
    return False


@contextmanager
def _surroundings(directory: Path) -> Iterator[None]:
    """Set what W&B takes from the environment only; a user's own setting is left alone.

    Files for the home directory, which may not be writable, go with the rest, and the console
    stays free of W&B's messages while it logs in.
    """
    wanted = {
        "WANDB_DATA_DIR": str(directory / "wandb" / "data"),
        "WANDB_CACHE_DIR": str(directory / "wandb" / "cache"),
        "WANDB_SILENT": "true",
    }
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _run_id(file: Path) -> str:
    if not file.exists():
        file.write_text(secrets.token_hex(4), encoding="ascii")
    return file.read_text(encoding="ascii").strip()
