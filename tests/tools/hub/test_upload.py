"""What arrives at the Hub, and what is said when it does not."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.runs.directory import Run
from iterdpo.tools.hub.folder import folders
from iterdpo.tools.hub.share import share, share_at_the_end
from tests.narrowing import present
from tests.tools.hub.conftest import Asked, Changed
from tests.tools.hub.standin import TOKEN, StandIn


def test_the_right_files_with_the_right_bytes_arrive(
    finished_run: Path, hub: StandIn, asked: Asked
) -> None:
    run = Run.open(finished_run)
    urls = share(run, asked())
    assert urls == [f"{hub.url}/datasets/me/tiny-pairs", f"{hub.url}/me/tiny"]
    with folders(run, "me/tiny", "last", pairs=True) as made:
        for folder in made:
            expected = {path: (folder.directory / path).read_bytes() for path, _ in folder.files}
            assert hub.files(folder.kind, folder.repo) == expected
    weights = hub.files("model", "me/tiny")["adapter_model.safetensors"]
    assert hashlib.sha256(weights).hexdigest() == present(run.policy("M2").adapter).sha256
    assert set(hub.files("dataset", "me/tiny-pairs")) == {
        "README.md", "data/iteration-1.parquet", "data/iteration-2.parquet",
    }  # fmt: skip
    assert hub.tokens == {TOKEN}


@pytest.mark.parametrize("private", [True, False])
def test_repositories_are_as_private_as_asked(
    finished_run: Path, hub: StandIn, asked: Asked, private: bool
) -> None:
    share(Run.open(finished_run), asked(private=private))
    assert {repo["private"] for repo in hub.repos.values()} == {private}
    assert [item.get("type") for item in hub.created] == ["dataset", "model"]


def test_a_public_repository_is_not_written_to_when_private_was_asked_for(
    finished_run: Path, hub: StandIn, asked: Asked
) -> None:
    run = Run.open(finished_run)
    hub.repos["model", "me/tiny"] = {"private": False, "files": {}}
    with pytest.raises(UserError, match="model me/tiny: is public already, and private was asked"):
        share(run, asked(pairs=False))
    assert hub.files("model", "me/tiny") == {}
    share(run, asked(pairs=False, private=False))
    assert "adapter_model.safetensors" in hub.files("model", "me/tiny")


def test_a_name_alone_is_the_users_own(finished_run: Path, hub: StandIn, asked: Asked) -> None:
    urls = share(Run.open(finished_run), asked(repo="tiny", models="none"))
    assert urls == [f"{hub.url}/datasets/me/tiny-pairs"]
    assert b"load_dataset('me/tiny-pairs'" in hub.files("dataset", "me/tiny-pairs")["README.md"]


def test_an_upload_that_was_cut_goes_on(finished_run: Path, hub: StandIn, asked: Asked) -> None:
    run, wanted = Run.open(finished_run), asked(models="all", pairs=False)
    adapters = {present(run.policy(name).adapter).sha256 for name in ("M1", "M2")}
    hub.cut_after = 1
    with pytest.raises(UserError, match="connection was cut") as caught:
        share(run, wanted)
    assert "\n" not in str(caught.value)
    assert hub.files("model", "me/tiny") == {}  # nothing half done is to be seen
    arrived = list(hub.sent)
    assert len(arrived) == 1
    hub.cut_after = None
    share(run, wanted)
    assert hub.sent[:1] == arrived  # and the second call sent the other one only
    assert set(hub.sent[1:]) == adapters - set(arrived)
    assert set(hub.files("model", "me/tiny")) == {
        "README.md",
        *(f"{name}/adapter_{file}" for name in ("M1", "M2")
          for file in ("config.json", "model.safetensors")),
    }  # fmt: skip


def test_sharing_again_sends_nothing(finished_run: Path, hub: StandIn, asked: Asked) -> None:
    run = Run.open(finished_run)
    share(run, asked())
    sent, before = len(hub.sent), len(hub.asked)
    share(run, asked())
    assert len(hub.sent) == sent
    again = [path for method, path in hub.asked[before:] if method != "GET"]
    assert not any("/commit/" in path for path in again)


@pytest.mark.parametrize(
    ("path", "status", "headers", "said"),
    [
        ("repos/create", 401, {}, "does not know the login"),
        ("repos/create", 403, {}, "may not write there"),
        ("preupload", 404, {"X-Error-Code": "RepoNotFound"}, "no such repository"),
        ("/commit/", 409, {}, "another upload changes the repository"),
        ("/commit/", 413, {}, r"the Hub refuses \(HTTP 413"),
        ("/commit/", 500, {}, "the Hub failed; try again later"),
        ("objects/batch", 401, {}, "does not know the login"),
    ],
)
def test_a_refusal_is_one_line(
    finished_run: Path,
    hub: StandIn,
    asked: Asked,
    path: str,
    status: int,
    headers: dict[str, str],
    said: str,
) -> None:
    # A server may say back what it was sent.
    hub.answers[path] = (status, {"X-Error-Message": f"no: {TOKEN}", **headers})
    with pytest.raises(UserError, match=said) as caught:
        share(Run.open(finished_run), asked(pairs=False))
    text = str(caught.value)
    assert text.startswith("model me/tiny: ")
    assert f"HTTP {status}" in text
    assert "\n" not in text
    assert TOKEN not in text


def test_a_refused_login_is_one_line(finished_run: Path, hub: StandIn, asked: Asked) -> None:
    hub.answers["whoami"] = (401, {})
    with pytest.raises(UserError, match=r"hub\.repo=tiny: the Hub does not know the login"):
        share(Run.open(finished_run), asked(repo="tiny"))


def test_nobody_logged_in(
    finished_run: Path, hub: StandIn, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="the Hub asks for a login: set HF_TOKEN"):
        share(Run.open(finished_run), asked())
    assert hub.asked == []


def test_a_hub_that_is_not_there_and_one_that_must_not_be_asked(
    finished_run: Path,
    hub: StandIn,
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    nobody_there: str,
) -> None:
    run = Run.open(finished_run)
    with pytest.raises(UserError, match=r"dataset me/tiny-pairs: the Hub was not reached"):
        share(run, asked(endpoint=nobody_there))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE keeps huggingface_hub from the network"):
        share(run, asked())


def test_a_damaged_adapter_is_not_uploaded(changed: Changed, hub: StandIn, asked: Asked) -> None:
    run = changed()
    place = run.directory_of(run.models[2].stages.policy)
    link = next(link for link in (run.directory / "stages").iterdir() if link.resolve() == place)
    copy = run.directory / "damaged"
    subprocess.run(["cp", "-r", str(place), str(copy)], check=True)
    link.unlink()
    link.symlink_to(copy)
    weights = copy / "adapter" / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(UserError, match="is not what its stage wrote"):
        share(run, asked())
    assert hub.created == []


def test_at_the_end_of_a_run_a_failure_is_a_warning(
    finished_run: Path, hub: StandIn, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    share_at_the_end(asked(push=False), finished_run)
    assert hub.asked == []
    hub.answers["repos/create"] = (403, {})
    with caplog.at_level(logging.INFO, logger="iterdpo"):
        share_at_the_end(asked(private=False), finished_run)
    (record,) = [item for item in caplog.records if item.levelno == logging.WARNING]
    said = record.getMessage()
    assert "the run is done but was not shared" in said
    assert (
        f"python -m iterdpo.sharing {finished_run} --repo me/tiny --models last --public "
        f"--endpoint {hub.url}" in said
    )
    hub.answers.clear()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="iterdpo"):
        share_at_the_end(asked(), finished_run)
    assert f"shared: {hub.url}/me/tiny" in caplog.messages


def test_the_token_is_nowhere_on_disk(finished_run: Path, hub: StandIn, tmp_path: Path) -> None:
    """As a command of its own: every file that it could write to lies below one directory."""
    (tmp_path / "home").mkdir()
    environment = {
        **os.environ, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home" / "hf"),
        "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / "cache"),
        "TMPDIR": str(tmp_path), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }  # fmt: skip

    def run(*arguments: Any) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "iterdpo.sharing", str(finished_run), *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = run("--repo", "tiny", "--models", "last")
    assert (done.returncode, done.stdout) == (
        0, f"{hub.url}/datasets/me/tiny-pairs\n{hub.url}/me/tiny\n",
    ), done.stderr  # fmt: skip
    assert hub.tokens == {TOKEN}
    hub.answers["preupload"] = (401, {"X-Error-Message": TOKEN})
    refused = run("--repo", "tiny", "--models", "last")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("iterdpo.sharing: dataset me/tiny-pairs: ")
    assert "Traceback" not in refused.stderr
    for text in (done.stdout, done.stderr, refused.stdout, refused.stderr):
        assert TOKEN not in text
    for place in (tmp_path, finished_run, finished_run.parent / "store"):
        for file in place.rglob("*"):
            assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file
    for repo in hub.repos.values():
        assert not any(TOKEN.encode() in content for content in repo["files"].values())
