"""The W&B tracker: real runs offline, and what it does with a failing library."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from iterdpo.tracking.base import RunLabel, StageArtifact
from iterdpo.tracking.safe import SafeTracker
from iterdpo.tracking.wandb import Artifacts, WandbTracker
from iterdpo.tracking.wandb_environment import Mode, logged_in, resolve_mode
from tests.tracking.offline import OfflineRun
from tests.tracking.rounds import CONFIG, initial_round, made_round, result_of

REPOSITORY = Path(__file__).parents[2]

RUN = """
import sys
from pathlib import Path
import iterdpo.tracking.wandb
from iterdpo.tracking.base import RunLabel, StageArtifact
from iterdpo.tracking.wandb import WandbTracker

def open_soon(self, mode, *args, open=WandbTracker._open):
    iterdpo.tracking.wandb.INIT_SECONDS = 3.0 if mode == "online" else 600.0
    return open(self, mode, *args)
WandbTracker._open = open_soon
here = Path(sys.argv[1])
tracker = WandbTracker(
    run_dir=here, project="iterdpo-tests", entity=None, mode=sys.argv[2], artifacts=sys.argv[3]
)
tracker.start(
    {"seed": 7, "hub": {"hf_token": "s3cr3t-value"}, "mirror": "https://me:s3cr3t-value@host/x"},
    RunLabel("a run", "a group", ("test",), "a note"),
)
stage = here.parent / "the store"
stage.mkdir()
(stage / "weights é").write_bytes(b"w" * 10)
for t in (0, 1):
    tracker.metrics(t, {"quality/mean": 3.5 + t})
    tracker.table(t, "samples", [
        {"prompt": "p\\u2028" * 2, "score": 4.25, "mark": "chosen", "tokens": [1, 2]},
        {"prompt": "{{ p }}", "score": None, "mark": "rejected", "tokens": []},
    ])
    tracker.distributions(t, {"score": [0.0, 0.5, 4.0], "margin": []})
    tracker.curve(f"M{t}", [
        {"train/step": 1 + t, "train/loss": 0.5, f"train/M{t}/step": 1, f"train/M{t}/loss": 0.5},
    ])
    tracker.artifact(StageArtifact(
        "adapter", f"M{t}", stage, ("weights é",), {"sha256": "ab", "iteration": t},
        (("adapter", "M0"),) if t else (),
    ))
    tracker.alarm("a title", "a text")
tracker.table(2, "samples", [])
tracker.finish({"models": [{"name": "M0", "quality": {"mean": 3.5, "ci95": (3.4, 3.6)}}]}, True)
"""


def run_alone(
    directory: Path, mode: str, artifacts: str = "reference", **environment: str
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run a tracker in a process and a home directory of its own."""
    home = directory / "home"
    home.mkdir(parents=True)
    keep = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(directory / "run"), mode, artifacts],
        env={**keep, "HOME": str(home), "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, home


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    directory = tmp_path_factory.mktemp("offline")
    done, home = run_alone(directory, "auto")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(done=done, home=home, files=directory / "run" / "wandb")


def test_a_user_who_is_not_logged_in_gets_one_offline_run(offline: SimpleNamespace) -> None:
    (run,) = offline.files.glob("offline-run-*")
    assert len(list(run.glob("*.wandb"))) == 1


def test_the_console_stays_silent(offline: SimpleNamespace) -> None:
    assert (offline.done.stdout, offline.done.stderr) == ("", "")


def test_nothing_is_written_outside_the_directory(offline: SimpleNamespace) -> None:
    assert [path for path in offline.home.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def written(offline: SimpleNamespace) -> OfflineRun:
    (directory,) = offline.files.glob("offline-run-*")
    return OfflineRun.read(directory)


def test_the_run_is_found_by_its_label(written: OfflineRun) -> None:
    run = written.run
    assert (run.project, run.display_name, run.run_group) == ("iterdpo-tests", "a run", "a group")
    assert (run.job_type, list(run.tags), run.notes) == ("loop", ["test"], "a note")


def test_the_configuration_is_nested_and_has_no_secrets(written: OfflineRun) -> None:
    config = {name: value for name, value in written.config.items() if name != "_wandb"}
    assert config == {
        "seed": 7, "hub": {"hf_token": "(hidden)"}, "mirror": "https://(hidden)@host/x",
    }  # fmt: skip
    for file in written.directory.rglob("*"):
        assert not file.is_file() or b"s3cr3t-value" not in file.read_bytes(), file


def test_numbers_of_an_iteration_stand_at_its_step(written: OfflineRun) -> None:
    assert written.rows_with("quality/mean") == [
        {"iteration": 0, "quality/mean": 3.5},
        {"iteration": 1, "quality/mean": 4.5},
    ]


def test_every_number_has_the_step_axis_that_it_is_drawn_against(written: OfflineRun) -> None:
    assert written.steps == {
        "*": "iteration",
        "train/loss": "train/step",
        "train/M0/loss": "train/M0/step",
        "train/M1/loss": "train/M1/step",
    }


def test_training_rows_stand_on_both_axes_and_on_no_other(written: OfflineRun) -> None:
    assert written.rows_with("train/step") == [
        {"train/step": 1, "train/loss": 0.5, "train/M0/step": 1, "train/M0/loss": 0.5},
        {"train/step": 2, "train/loss": 0.5, "train/M1/step": 1, "train/M1/loss": 0.5},
    ]


def test_tables_hold_each_row_as_it_was(written: OfflineRun) -> None:
    rows = written.rows_with("samples.path")
    assert [row["iteration"] for row in rows] == [0, 1]
    table = written.table(rows[0]["samples.path"])
    assert table["columns"] == ["prompt", "score", "mark", "tokens"]
    assert table["data"] == [
        ["p\\u2028p\\u2028", 4.25, "chosen", "[1, 2]"],  # what breaks a line is shown
        ["{{ p }}", None, "rejected", "[]"],
    ]


def test_histograms_count_every_value_and_empty_ones_are_left_out(written: OfflineRun) -> None:
    rows = written.rows_with("distribution/score.values")
    assert [row["iteration"] for row in rows] == [0, 1]
    counts, edges = rows[0]["distribution/score.values"], rows[0]["distribution/score.bins"]
    assert sum(counts) == 3
    assert (edges[0], edges[-1], len(edges)) == (0, 4, len(counts) + 1)
    assert not any("margin" in name for name in rows[0])


def test_artifacts_are_referred_to_with_what_they_are(
    offline: SimpleNamespace, written: OfflineRun
) -> None:
    adapters = [item for item in written.of("artifact") if item.type == "model"]
    assert {item.name for item in adapters} == {f"adapter-{written.run.run_id}"}
    assert [sorted(item.aliases) for item in adapters] == [["M0", "latest"], ["M1", "latest"]]
    assert json.loads(adapters[1].metadata) == {"sha256": "ab", "iteration": 1}
    (entry,) = adapters[0].manifest.contents
    file = offline.files.parent.parent / "the store" / "weights é"
    assert (entry.path, entry.size, entry.local_path) == ("weights é", 10, "")
    assert entry.ref == file.as_uri()


def test_offline_nobody_is_alarmed(written: OfflineRun) -> None:
    assert written.of("alert") == []


def test_the_summary_and_the_failure_are_kept(written: OfflineRun) -> None:
    models = [{"name": "M0", "quality": {"mean": 3.5, "ci95": [3.4, 3.6]}}]
    assert written.summary["result"] == {"models": models}
    assert [record.exit_code for record in written.of("exit")] == [1]


def test_upload_points_to_the_store_s_own_files(tmp_path: Path) -> None:
    done, _ = run_alone(tmp_path, "offline", "upload")
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    written = OfflineRun.read(directory)
    (entry, again) = (
        item.manifest.contents[0] for item in written.of("artifact") if item.type == "model"
    )
    assert entry.ref == ""
    assert entry.local_path == again.local_path == str(tmp_path / "the store" / "weights é")


def test_disabled_writes_no_run(tmp_path: Path) -> None:
    done, _ = run_alone(tmp_path, "disabled")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run").rglob("*.wandb")) == []


def test_an_unreachable_server_delays_but_does_not_hang(tmp_path: Path, nobody_there: str) -> None:
    done, _ = run_alone(tmp_path, "auto", WANDB_BASE_URL=nobody_there, WANDB_API_KEY="a" * 40)
    assert done.returncode == 0, done.stderr
    assert "continuing offline" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert len(list(run.glob("files/media/table/*.json"))) == 2


class Library:
    """Stands for the wandb module and its runs; one of its calls may raise."""

    Error = ConnectionError
    id = "1234"

    def __init__(self, fails_in: str = "") -> None:
        import wandb.sdk.lib.import_hooks  # noqa: F401  # the tracker's own import finds it then

        self.fails_in, self.calls = fails_in, list[tuple[str, tuple[object, ...]]]()
        self.summary = SimpleNamespace(update=lambda values: self._called("summary"))
        self.settings: list[dict[str, object]] = []

    def _called(self, name: str, *arguments: object) -> "Library":
        self.calls.append((name, arguments))
        if name == self.fails_in:
            raise RuntimeError(f"{name} is broken")
        return self

    def init(self, **settings: object) -> "Library":
        self.settings.append(settings)
        return self._called("init")

    def define_metric(self, *names: str, **settings: object) -> None:
        self._called("define_metric")

    def __getattr__(self, name: str) -> Callable[..., "Library"]:
        def called(*arguments: object, **settings: object) -> "Library":
            return self._called(name, *arguments)

        return called

    def of(self, name: str) -> list[tuple[object, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


def wandb_tracker(
    run_dir: Path, mode: Mode = "online", artifacts: Artifacts = "reference"
) -> WandbTracker:
    return WandbTracker(run_dir=run_dir, project="p", entity=None, mode=mode, artifacts=artifacts)


def start(tracker: WandbTracker) -> WandbTracker:
    tracker.start({}, RunLabel("a run"))
    return tracker


@pytest.mark.parametrize(
    "call", ["Settings", "init", "define_metric", "log", "Table", "summary", "finish"]
)
def test_a_broken_library_does_not_stop_a_run(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    library = Library(call)
    monkeypatch.setitem(sys.modules, "wandb", library)
    guarded = SafeTracker(wandb_tracker(tmp_path, "offline"), samples=2)
    guarded.start(CONFIG, {}, tmp_path)
    guarded.round(initial_round(), result_of(0))
    guarded.round(made_round(tmp_path), result_of(1))
    guarded.finish(result_of(1), failed=False)
    assert [name for name, _ in library.calls[-2:]] == [call, "teardown"]
    assert len(caplog.records) == 1
    assert f"{call} is broken" in caplog.text


STAGE = StageArtifact("adapter", "M2", Path(), (), {}, (("adapter", "M1"), ("pairs", "M2")))


def test_online_the_run_uses_what_it_made_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    tracker = start(wandb_tracker(tmp_path))
    tracker.artifact(StageArtifact("adapter", "M1", Path(), (), {}))
    assert library.of("use_artifact") == []
    tracker.artifact(STAGE)  # its pairs were never logged
    assert len(library.of("use_artifact")) == 1
    assert library.of("Artifact") == [("adapter-1234", "model")] * 2


def test_a_whole_model_is_logged_as_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    tracker = start(wandb_tracker(tmp_path))
    tracker.artifact(StageArtifact("weights", "M1", Path(), (), {}))
    assert library.of("Artifact") == [("weights-1234", "model")]


def test_an_artifact_that_takes_too_long_costs_a_line_of_lineage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Library):
        def wait(self, seconds: int) -> None:
            raise ConnectionError("not yet\nthere")

    library = Slow()
    monkeypatch.setitem(sys.modules, "wandb", library)
    tracker = start(wandb_tracker(tmp_path))
    tracker.artifact(StageArtifact("adapter", "M1", Path(), (), {}))
    tracker.artifact(STAGE)
    assert caplog.messages == ["tracking: W&B will not show the use of adapter M1 (not yet there)"]
    assert len(library.of("log_artifact")) == 2


@pytest.mark.parametrize(
    ("mode", "artifacts", "logged"),
    [("online", "none", 0), ("disabled", "upload", 0), ("offline", "reference", 1)],
)
def test_artifacts_are_told_of_as_the_user_says(
    mode: Mode, artifacts: Artifacts, logged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    start(wandb_tracker(tmp_path, mode, artifacts)).artifact(STAGE)
    assert len(library.of("log_artifact")) == logged


@pytest.mark.parametrize(("mode", "alerts"), [("online", 1), ("offline", 0), ("disabled", 0)])
def test_alarms_reach_people_online_only(
    mode: Mode, alerts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    start(wandb_tracker(tmp_path, mode)).alarm("t" * 100, "text")
    assert library.of("alert") == [(f"{'t' * 62}…", "text", "WARN")] * alerts


def test_a_resumed_run_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    for directory in ("a", "a", "b"):
        start(wandb_tracker(tmp_path / directory, "offline"))
    ids = [settings["id"] for settings in library.settings]
    assert ids[0] == ids[1] != ids[2]


def test_online_falls_back_to_offline_under_a_new_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[tuple[object, object]] = []

    class Offline(Library):
        def init(self, **settings: object) -> Library:
            tried.append((settings["mode"], settings["id"]))
            if settings["mode"] == "online":
                raise ConnectionError("no\nroute")
            return self

    library = Offline()
    monkeypatch.setitem(sys.modules, "wandb", library)
    tracker = start(wandb_tracker(tmp_path))
    assert [mode for mode, _ in tried] == ["online", "offline"]
    assert tried[0][1] != tried[1][1]
    assert "(no route); continuing offline" in caplog.text
    tracker.alarm("a title", "a text")
    assert library.of("alert") == [], "it is offline from there on"


def test_use_before_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="outside start"):
        wandb_tracker(Path("unused")).metrics(0, {})


def test_environment_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_CACHE_DIR", "mine")
    seen: list[dict[str, str]] = []

    class Looking(Library):
        def init(self, **settings: object) -> Library:
            seen.append(dict(os.environ))
            return self

    monkeypatch.setitem(sys.modules, "wandb", Looking())
    before = dict(os.environ)
    start(wandb_tracker(tmp_path, "offline"))
    assert seen[0]["WANDB_DATA_DIR"] == str(tmp_path / "wandb" / "data")
    assert seen[0]["WANDB_CACHE_DIR"] == "mine"
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("mode", "environment", "resolved"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "dryrun"}, "offline"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "disabled"),
        ("auto", {"WANDB_MODE": "online"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "nonsense"}, "online"),
        ("online", {"WANDB_MODE": "offline"}, "online"),
        ("offline", {"WANDB_API_KEY": "k"}, "offline"),
    ],
)
def test_auto_is_online_for_users_who_are_logged_in(
    mode: Mode, environment: dict[str, str], resolved: str, tmp_path: Path
) -> None:
    assert resolve_mode(mode, {"HOME": str(tmp_path), **environment}) == resolved


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("machine api.wandb.ai login user password key\n", True),
        ("machine wandb.example.org login user password key\n", False),
        ("machine api.wandb.ai login user password ''\n", True),
        ("machine", False),
    ],
)
def test_a_key_in_netrc_counts_as_logged_in(tmp_path: Path, content: str, expected: bool) -> None:
    file = tmp_path / ".netrc"
    file.write_text(content)
    file.chmod(0o600)
    assert logged_in({"HOME": str(tmp_path)}) is expected
    assert logged_in({"HOME": "/nowhere", "NETRC": str(file)}) is expected


def test_a_server_of_ones_own_has_its_own_login(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine wandb.example.org login user password key\n")
    here = {"HOME": str(tmp_path)}
    assert logged_in({**here, "WANDB_BASE_URL": "https://wandb.example.org"})
    assert not logged_in({**here, "WANDB_BASE_URL": "https://other.example.org"})
