"""Where W&B would send a run, found out without the network, and what it takes from around it."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["auto", "online", "offline", "disabled"]
Resolved = Literal["online", "offline", "disabled"]


def resolve_mode(mode: Mode, environment: Mapping[str, str]) -> Resolved:
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
def surroundings(directory: Path) -> Iterator[None]:
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
