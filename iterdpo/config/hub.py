"""What of a run is shared on the Hugging Face Hub, and where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from iterdpo.config.types import checked
from iterdpo.config.urls import may_hold_secret, names_server

PAIRS_SUFFIX: Final = "-pairs"
"""What the name of the dataset's repository ends with."""

Models = Literal["best", "last", "all", "none"]

_LONGEST_NAME: Final = 96  # the Hub's limit on a repository's own name
_NAME: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPO: Final = re.compile(rf"(?:{_NAME}/)?(?P<name>{_NAME})")


@checked
@dataclass(frozen=True, kw_only=True)
class HubConfig:
    """What is uploaded when a run is done. Whoever is logged in uploads: a token is no setting."""

    push: bool
    """Upload at the end of the run. A failure is a warning, with the command that resumes it."""
    repo: str | None
    """The repository, ``owner/name``, or a name under your own account. The pairs go to the dataset
    repository ``<repo>-pairs``."""
    private: bool
    """Make private repositories, and write to no public one."""
    models: Models
    """``best``: the model that the run names as its best. ``last``: the last one. ``all``: every
    model in a folder of its name, and the best at the top. ``none``: the pairs alone."""
    pairs: bool
    """The preference pairs of every iteration, with their prompts. Look whether you may share
    these. Pairs that were given (``pairs=dataset``) are somebody's already and stay here."""
    endpoint: str | None
    """URL of another Hub; null for ``HF_ENDPOINT`` or, without one, huggingface.co."""


def hub_problems(hub: HubConfig) -> list[str]:
    """Return what the fields allow but all of them together do not, a line each."""
    problems = []
    if hub.push and hub.repo is None:
        problems.append("hub.repo=null: hub.push=true needs a repository, hub.repo=owner/name")
    if hub.push and hub.models == "none" and not hub.pairs:
        problems.append(
            "hub.models=none: with hub.pairs=false nothing is left to upload; change one of them, "
            "or set hub.push=false"
        )
    if hub.repo is not None and (problem := repo_problem(hub.repo)):
        problems.append(f"hub.repo={hub.repo}: {problem}")
    if hub.endpoint is not None and (problem := endpoint_problem(hub.endpoint)):
        problems.append(f"hub.endpoint{problem}")
    return problems


def repo_problem(repo: str) -> str | None:
    """Say what is wrong with a repository's name, as the Hub takes them; None if nothing is."""
    found = _REPO.fullmatch(repo)
    if found is None or "--" in repo or ".." in repo or repo.endswith(".git"):
        return (
            "is no repository's name; give owner/name or a name, of letters, digits and single "
            "., - or _ between them"
        )
    longest = _LONGEST_NAME - len(PAIRS_SUFFIX)
    if len(found["name"]) > longest:
        return f"is too long; the name may have {longest} characters"
    return None


def endpoint_problem(endpoint: str) -> str | None:
    """Say what is wrong with a Hub's URL, with the ``=value`` or without where it is a secret."""
    if may_hold_secret(endpoint):
        return ": holds credentials or a query; log in with `hf auth login` or HF_TOKEN instead"
    if not names_server(endpoint):
        return f"={endpoint}: give a URL such as https://huggingface.co"
    url = urlsplit(endpoint)
    if url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1"):
        return f"={endpoint}: would send your token unencrypted; use https"
    return None
