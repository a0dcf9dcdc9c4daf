"""Folders to repositories of the Hugging Face Hub, such that a second call resumes the first.

``upload_folder`` is called, which huggingface_hub resumes by content: a file whose hash the
repository has is left out of the commit, and of large ones nothing is sent again that the Hub's
storage has, committed or not (with hf_xet pieces of files, without it whole files). So nothing has
to be remembered here; the folders only have to come out the same each time.

The token is huggingface_hub's to find (``HF_TOKEN``, or what a login left). It is asked for here
only to see whether there is one, and to be kept out of whatever an error says.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iterdpo.config.secrets import without_secrets
from iterdpo.errors import UserError
from iterdpo.tools.hub.folder import Folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

_MESSAGE = "Upload from iterdpo"
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Hub:
    """A Hub, and whoever is logged in to it."""

    api: HfApi

    @classmethod
    def open(cls, endpoint: str | None) -> Hub:
        """Return the Hub at ``endpoint``; None for the usual one.

        Raises:
            UserError: nobody is logged in.
        """
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        if not sys.stderr.isatty():
            disable_progress_bars()
        if get_token() is None:
            raise UserError(
                "the Hub asks for a login: set HF_TOKEN to a token that may write, or run "
                "`hf auth login`"
            )
        return cls(HfApi(endpoint=endpoint))

    def full_name(self, repo: str) -> str:
        """Return ``owner/name``, the owner being whoever is logged in where ``repo`` has none.

        Raises:
            UserError: the Hub cannot tell.
        """
        if "/" in repo:
            return repo
        with _told(f"hub.repo={repo}"):
            return f"{self.api.whoami()['name']}/{repo}"

    def upload(self, folder: Folder, *, private: bool) -> str:
        """Make the repository where there is none, bring the folder's files there, return its URL.

        Files of the same name are replaced, others stay.

        Raises:
            UserError: it did not succeed, or ``private`` was asked for and the repository is there
                and public.
        """
        name, kind = folder.repo, folder.kind
        with _told(f"{kind} {name}"):
            self.api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
            if private and not self.api.repo_info(name, repo_type=kind).private:
                # Of a repository that is there, the Hub ignores what create_repo says of privacy.
                raise UserError(
                    f"{kind} {name}: is public already, and private was asked for; name another "
                    "repository, make it private on the Hub, or upload with --public "
                    "(hub.private=false)"
                )
            log.info(
                "%s %s: %d files, %.1f MB", kind, name, len(folder.files),
                sum(size for _, size in folder.files) / 1e6,
            )  # fmt: skip
            self.api.upload_folder(
                repo_id=name, repo_type=kind, folder_path=folder.directory, commit_message=_MESSAGE
            )
        prefix = "datasets/" if kind == "dataset" else ""
        return f"{self.api.endpoint}/{prefix}{name}"


def upload_all(hub: Hub, folders: Sequence[Folder], *, private: bool) -> list[str]:
    """Upload each folder and return the repositories' URLs; see ``Hub.upload``."""
    # The dataset first: the model's card names it.
    ordered = sorted(folders, key=lambda folder: folder.kind)
    return [hub.upload(folder, private=private) for folder in ordered]


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what the Hub, the network or the library raises into one line without a secret."""
    import huggingface_hub.errors as hub_errors

    # What the HTTP client raises: httpx or httpx2, as huggingface_hub has it.
    http_error: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except hub_errors.HfHubHTTPError as error:
        raise UserError(f"{what}: {_refusal(error)}") from None
    except hub_errors.OfflineModeIsEnabled:
        raise UserError(
            f"{what}: HF_HUB_OFFLINE keeps huggingface_hub from the network; unset it"
        ) from None
    except (http_error, OSError, RuntimeError, json.JSONDecodeError) as error:
        deepest: BaseException = error
        while deepest.__cause__ is not None:
            deepest = deepest.__cause__
        if isinstance(deepest, hub_errors.HfHubHTTPError):
            raise UserError(f"{what}: {_refusal(deepest)}") from None
        raise UserError(
            f"{what}: the Hub was not reached, or the connection was cut ({_reason(deepest)}); "
            "what had arrived is kept there"
        ) from None
    except ValueError as error:  # so huggingface_hub tells of what a server refuses in a reply
        raise UserError(f"{what}: the Hub does not take it ({_reason(error)})") from None


_REFUSALS = {
    401: "the Hub does not know the login, or not for this repository: the token is wrong or has "
    "ended; set HF_TOKEN anew, or run `hf auth login`",
    403: "the login may not write there: take a token with write access, or name a repository of "
    "your own",
    404: "the Hub has no such repository, or not for this login; look at the name and at what the "
    "token may see",
    409: "another upload changes the repository at the same time; try again in a moment",
    429: "the Hub asks to slow down; try again in some minutes",
}


def _refusal(error: Exception) -> str:
    """Return what a refused request means, and what the server said of it."""
    response = getattr(error, "response", None)
    status = response.status_code if response is not None else 0
    meaning = _REFUSALS.get(
        status, "the Hub failed; try again later" if status >= 500 else "the Hub refuses"
    )
    said = getattr(error, "server_message", None)
    return f"{meaning} (HTTP {status}{f': {_plain(said)}' if said else ''})"


def _reason(error: BaseException) -> str:
    return _plain(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _plain(text: str) -> str:
    """Return foreign text on one line, cut, without a token: whatever it looks like."""
    from huggingface_hub import get_token

    line = without_secrets(" ".join(text.split()))
    if token := get_token():
        line = line.replace(token, "(hidden)")
    return line[:_LONGEST_REASON]
