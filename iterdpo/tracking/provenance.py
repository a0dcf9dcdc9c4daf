"""What a run was made with besides its settings: the code's commit and the libraries."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import iterdpo

GIT_SECONDS = 5.0


def described(
    values: Mapping[str, Any], versions: Mapping[str, str], run_dir: Path
) -> dict[str, Any]:
    """Return the configuration with what else a reader needs to make the run again.

    ``git`` is null where the package was not run from a checkout of its own.
    """
    return {
        **values,
        "versions": {"iterdpo": iterdpo.__version__, **versions},
        "git": git_state(Path(iterdpo.__file__).resolve().parent.parent),
        "run_directory": run_dir.resolve().name,
    }


def git_state(checkout: Path) -> dict[str, str | bool] | None:
    """Return the commit of ``checkout``, and whether tracked files differ from it.

    Neither the remote's address, which may hold a login, nor any difference itself. None where
    ``checkout`` is not the top of a repository (an installed package may lie somewhere inside of
    somebody else's), or where git is missing or refuses.
    """
    try:
        if Path(_git(checkout, "rev-parse", "--show-toplevel")).resolve() != checkout.resolve():
            return None
        commit = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changed)}


def _git(directory: Path, *arguments: str) -> str:
    # Where git is told of a repository by the environment, it would not look at the directory.
    environment = {k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE")}
    done = subprocess.run(
        # Without a lock: whoever commits at the same time is not disturbed.
        ["git", "--no-optional-locks", "-C", str(directory), *arguments],
        capture_output=True, text=True, check=True, timeout=GIT_SECONDS, env=environment,
    )  # fmt: skip
    return done.stdout.strip()
