"""The workspace draws what runs log, and can be looked at without an account."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from iterdpo.tracking.__main__ import main
from iterdpo.tracking.curves import STEP
from iterdpo.tracking.workspace import COLUMNS, OWN, charted, sections

# W&B's library is written for an older pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")

DOCUMENT = Path(__file__).parents[2] / "docs" / "tracking.md"


@pytest.fixture
def library() -> None:
    pytest.importorskip("wandb_workspaces", reason="comes with the extra dashboards")


def test_a_dry_run_prints_the_workspace_and_needs_no_account(
    library: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert main(["team", "--project", "study", "--iterations", "2", "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["entity"], shown["project"]) == ("team", "study")
    parts = {
        part["name"]: part["panels"]
        for part in shown["spec"]["section"]["panelBankConfig"]["sections"]
    }
    assert list(parts) == [part.title for part in sections(2)]
    first = parts["Is it getting better?"][0]["config"]
    assert (first["xAxis"], first["metrics"]) == ("iteration", ["quality/mean"])
    own = parts["Training of M2"][0]["config"]
    assert (own["xAxis"], own["metrics"]) == ("train/M2/step", ["train/M2/loss"])
    tables = json.dumps(parts["Answers"])
    assert '"samples"' in tables
    assert '"preference_pairs"' in tables
    (runs,) = shown["spec"]["section"]["runSets"]
    assert list(runs["runFeed"]["columnPinned"]) == list(COLUMNS)


def test_each_iteration_has_a_section_of_its_training() -> None:
    drawn = charted(sections(3))
    assert {f"train/M{t}/{name}" for t in (1, 2, 3) for name in OWN} <= drawn
    assert {STEP, "iteration", "train/M3/step"} <= drawn
    assert "train/M4/loss" not in drawn


@pytest.mark.parametrize("name", sorted(charted(sections(1)) | {
    column.removeprefix("summary:") for column in COLUMNS if column.startswith("summary:")
}))  # fmt: skip
def test_whatever_is_drawn_is_documented(name: str) -> None:
    """A name has a row of its own, or one of a pattern such as ``train/M<t>/…``."""
    rows = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| `")]
    patterns = [cell for row in rows for cell in row.split("|")[1].split("`")[1::2]]
    assert any(_matches(name, pattern) for pattern in patterns), name


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    if wanted[-1] == "…":
        parts, wanted = parts[: len(wanted) - 1], wanted[:-1]
    return len(parts) == len(wanted) and all(
        mine == other or "<" in other for mine, other in zip(parts, wanted, strict=True)
    )


def test_without_the_library_one_line_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2.interface", None)
    assert main(["team", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "pip install 'iterdpo[dashboards]'" in said


def test_whoever_is_not_logged_in_is_told_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["team"]) == 2
    assert "run `wandb login`" in capsys.readouterr().err


def test_a_server_that_refuses_is_a_line(
    library: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb_workspaces.workspaces as ws

    def refuse(self: object) -> None:
        raise ConnectionError("no\nroute")

    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.setattr(ws.Workspace, "save", refuse)
    assert main(["team"]) == 2
    assert capsys.readouterr().err == (
        "iterdpo.tracking: W&B did not take the workspace (ConnectionError: no route); check "
        "entity, project and connection\n"
    )
