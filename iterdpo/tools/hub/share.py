"""Sharing a run: at its end, or by the command afterwards."""

from __future__ import annotations

import logging
import shlex
import shutil
from pathlib import Path

from iterdpo.config.hub import HubConfig
from iterdpo.config.secrets import without_secrets
from iterdpo.errors import UserError
from iterdpo.runs.directory import Run
from iterdpo.store.atomic import published_directory
from iterdpo.tools.hub.folder import folders
from iterdpo.tools.hub.upload import Hub, upload_all

log = logging.getLogger(__name__)

FILES_LIST = "files.txt"


def share(run: Run, hub: HubConfig) -> list[str]:
    """Upload what ``hub`` names of a run and return the URLs of the repositories.

    Raises:
        UserError: something is not there, or the upload did not succeed. Called again, it resumes.
    """
    assert hub.repo is not None
    service = Hub.open(hub.endpoint)
    repo = service.full_name(hub.repo)
    with folders(run, repo, hub.models, pairs=hub.pairs) as made:
        return upload_all(service, made, private=hub.private)


def write_locally(run: Run, hub: HubConfig, target: Path) -> Path:
    """Write the cards, the pairs and the list of all files to ``target``; nothing is uploaded.

    Raises:
        UserError: ``target`` exists or cannot be written, or something of the run is not there.
    """
    assert hub.repo is not None
    if target.exists():
        raise UserError(f"{target}: exists already; name another directory, --dry-run DIR")
    try:
        with (
            folders(run, hub.repo, hub.models, pairs=hub.pairs) as made,
            published_directory(target) as work,
        ):
            lines = []
            for folder in made:
                lines += [f"{folder.kind} {folder.repo}"]
                lines += [f"{size:>14,} {path}" for path, size in folder.files]
                for path in folder.directory.rglob("*"):
                    if path.is_file() and not path.is_symlink():  # links lead to the weights
                        place = work / folder.kind / path.relative_to(folder.directory)
                        place.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(path, place)
            (work / FILES_LIST).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror})") from error
    return target


def share_at_the_end(hub: HubConfig, run_dir: Path) -> None:
    """Upload a run that is done, if it was told to.

    Whatever goes wrong is a warning: the run is safe on this machine, and a command resumes it.
    """
    if not hub.push:
        return
    try:
        for url in share(Run.open(run_dir), hub):
            log.info("shared: %s", url)
    except Exception as error:
        reason = " ".join(str(error).split()) if isinstance(error, UserError) else repr(error)
        log.warning(
            "hub: the run is done but was not shared (%s). Resume with: %s",
            without_secrets(reason), command(hub, run_dir),
        )  # fmt: skip


def command(hub: HubConfig, run_dir: Path) -> str:
    """Return the command that shares a run as ``hub`` says."""
    words = ["python", "-m", "iterdpo.sharing", str(run_dir), "--repo", str(hub.repo)]
    words += ["--models", hub.models]
    words += [] if hub.pairs else ["--no-pairs"]
    words += [] if hub.private else ["--public"]
    words += ["--endpoint", hub.endpoint] if hub.endpoint else []
    return shlex.join(words)
