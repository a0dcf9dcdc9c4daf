"""The command line of sharing."""

from __future__ import annotations

from pathlib import Path

import pytest

from iterdpo.tools.hub.__main__ import main
from tests.tools.hub.standin import TOKEN, StandIn


def test_a_dry_run_writes_cards_pairs_and_a_list(
    finished_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)  # nobody needs to be logged in
    out = tmp_path / "dry"
    arguments = [str(finished_run), "--repo", "me/tiny", "--models", "all", "--dry-run", str(out)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{out}: nothing was uploaded\n"
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == [
        "dataset/README.md", "dataset/data/iteration-1.parquet", "dataset/data/iteration-2.parquet",
        "files.txt", "model/M1/adapter_config.json", "model/M2/adapter_config.json",
        "model/README.md",
    ]  # fmt: skip
    listed = (out / "files.txt").read_text().splitlines()
    assert "model me/tiny" in listed
    assert any(line.endswith(" M2/adapter_model.safetensors") for line in listed)
    assert main(arguments) == 2
    assert "exists already; name another directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repo", "a/b/c"], "hub.repo=a/b/c: is no repository's name"),
        (["--repo", "me/x", "--models", "none", "--no-pairs"], "nothing is left to upload"),
        (["--repo", "me/x", "--endpoint", "http://hub.example"], "would send your token unenc"),
        (["--repo", TOKEN], "an argument: holds what looks like a Hugging Face token"),
        (["--repo", "me/tiny"], "the best model is M0"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(
    finished_run: Path,
    hub: StandIn,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(finished_run), *arguments]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1
    assert TOKEN not in shown
    assert hub.created == []


def test_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--repo", "me/x"]) == 2
    assert "no run there" in capsys.readouterr().err
