"""The W&B tracker: real runs offline, and what it does with a failing library."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from iterdpo.tracking.base import Guarded
from iterdpo.tracking.plain import cell, plain, without_secrets
from iterdpo.tracking.wandb import WandbTracker, logged_in, resolve_mode

REPOSITORY = Path(__file__).parents[2]

RUN = """
import sys
from pathlib import Path
import iterdpo.tracking.wandb
from iterdpo.tracking.wandb import WandbTracker

iterdpo.tracking.wandb.INIT_SECONDS = 3.0
tracker = WandbTracker(Path(sys.argv[1]), "iterdpo-tests", mode=sys.argv[2], tags=["test"])
tracker.start({"seed": 7, "hub": {"hf_token": "s3cr3t-value"}}, "a run", "a group")
for t in (0, 1):
    tracker.metrics(t, {"quality/mean": 3.5 + t})
    tracker.samples(t, [
        {"prompt": "p\\u2028" * 2, "score": 4.25, "mark": "chosen", "tokens": [1, 2]},
        {"prompt": "{{ p }}", "score": None, "mark": "rejected", "tokens": []},
    ])
tracker.samples(2, [])
tracker.finish({"models": [{"name": "M0", "quality": {"mean": 3.5, "ci95": (3.4, 3.6)}}]})
"""


def run_alone(
    directory: Path, mode: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run a tracker in a process and a home directory of its own."""
    home = directory / "home"
    home.mkdir(parents=True)
    keep = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(directory / "run"), mode],
        env={**keep, "HOME": str(home), "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True, text=True, timeout=120, check=False,
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


def test_each_iteration_has_a_table_of_samples(offline: SimpleNamespace) -> None:
    files = sorted(offline.files.glob("offline-run-*/files/media/table/*.table.json"))
    assert len(files) == 2
    table = json.loads(files[0].read_text(encoding="utf-8"))
    assert table["columns"] == ["prompt", "score", "mark", "tokens"]
    assert table["data"] == [
        ["p\u2028p\u2028", 4.25, "chosen", "[1, 2]"],
        ["{{ p }}", None, "rejected", "[]"],
    ]


def test_the_run_holds_metrics_steps_and_summary_but_no_secret(offline: SimpleNamespace) -> None:
    (file,) = offline.files.glob("offline-run-*/*.wandb")
    content = file.read_bytes()
    for wanted in (b"quality/mean", b"4.5", b"iteration", b"a group", b"a run", b"M0", b"ci95"):
        assert wanted in content
    assert b"(hidden)" in content
    assert b"s3cr3t-value" not in content


def test_disabled_writes_no_run(tmp_path: Path) -> None:
    done, _ = run_alone(tmp_path, "disabled")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run").rglob("*.wandb")) == []


def test_an_unreachable_server_delays_but_does_not_hang(tmp_path: Path) -> None:
    done, _ = run_alone(
        tmp_path, "auto", WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="a" * 40
    )
    assert done.returncode == 0, done.stderr
    assert "going on offline" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert len(list(run.glob("files/media/table/*.json"))) == 2


class BrokenLibrary:
    """Stands for the wandb module; one of its calls raises."""

    def __init__(self, fails_in: str) -> None:
        self.fails_in, self.calls = fails_in, list[str]()
        self.summary = SimpleNamespace(update=lambda values: self._called("summary"))

    def _called(self, name: str) -> "BrokenLibrary":
        self.calls.append(name)
        if name == self.fails_in:
            raise RuntimeError(f"{name} is broken")
        return self

    def Settings(self, **settings: object) -> None:  # noqa: N802
        self._called("Settings")

    def init(self, **settings: object) -> "BrokenLibrary":
        return self._called("init")

    def define_metric(self, *names: str, **settings: str) -> None:
        self._called("define_metric")

    def Table(self, **settings: object) -> None:  # noqa: N802
        self._called("Table")

    def log(self, values: object) -> None:
        self._called("log")

    def finish(self) -> None:
        self._called("finish")


@pytest.mark.parametrize(
    "call", ["Settings", "init", "define_metric", "log", "Table", "summary", "finish"]
)
def test_a_broken_library_does_not_stop_a_run(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    library = BrokenLibrary(call)
    monkeypatch.setitem(sys.modules, "wandb", library)
    tracker = Guarded(WandbTracker(tmp_path, "p", mode="offline"))
    tracker.start({}, "run", None)
    tracker.metrics(0, {"a": 1})
    tracker.samples(0, [{"prompt": "p"}])
    tracker.finish({})
    assert library.calls[-1] == call
    assert len(caplog.records) == 1
    assert f"{call} is broken" in caplog.text


def test_a_resumed_run_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids: list[object] = []

    class Library(BrokenLibrary):
        def init(self, **settings: object) -> BrokenLibrary:
            ids.append(settings["id"])
            return self

    monkeypatch.setitem(sys.modules, "wandb", Library(""))
    for directory in ("a", "a", "b"):
        WandbTracker(tmp_path / directory, "p", mode="offline").start({}, "run", None)
    assert ids[0] == ids[1] != ids[2]


def test_online_falls_back_to_offline_under_a_new_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[tuple[object, object]] = []

    class Library(BrokenLibrary):
        def init(self, **settings: object) -> BrokenLibrary:
            tried.append((settings["mode"], settings["id"]))
            if settings["mode"] == "online":
                raise ConnectionError("no\nroute")
            return self

    monkeypatch.setitem(sys.modules, "wandb", Library(""))
    WandbTracker(tmp_path, "p", mode="online").start({}, "run", None)
    assert [mode for mode, _ in tried] == ["online", "offline"]
    assert tried[0][1] != tried[1][1]
    assert "(no route); going on offline" in caplog.text


def test_use_before_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="outside start"):
        WandbTracker(Path("unused"), "p").metrics(0, {})


def test_environment_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_CACHE_DIR", "mine")
    seen: list[dict[str, str]] = []

    class Library(BrokenLibrary):
        def init(self, **settings: object) -> BrokenLibrary:
            seen.append(dict(os.environ))
            return self

    monkeypatch.setitem(sys.modules, "wandb", Library(""))
    before = dict(os.environ)
    WandbTracker(tmp_path, "p", mode="offline").start({}, "run", None)
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
    mode: str, environment: dict[str, str], resolved: str, tmp_path: Path
) -> None:
    assert resolve_mode(mode, {"HOME": str(tmp_path), **environment}) == resolved  # type: ignore[arg-type]


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


def test_plain_values() -> None:
    value = {1: Path("a/b"), "t": (1, 2.5, None, True), "s": {"x"}, "b": b"x"}
    assert plain(value) == {"1": "a/b", "t": [1, 2.5, None, True], "s": ["x"], "b": "b'x'"}
    assert cell({"a": "é"}) == '{"a": "é"}'
    assert [cell(item) for item in (1, 2.5, "x", None, True)] == [1, 2.5, "x", None, True]


def test_secrets_are_hidden_and_nothing_else() -> None:
    config = {
        "token": "a", "HF_TOKEN": "b", "api_key": "c", "endpoints": [{"password": "d"}],
        "max_tokens": 8, "tokenizer": "e", "secret": None, "judge": {"keyword": "f"},
    }  # fmt: skip
    assert without_secrets(config) == {
        "token": "(hidden)", "HF_TOKEN": "(hidden)", "api_key": "(hidden)",
        "endpoints": [{"password": "(hidden)"}], "max_tokens": 8, "tokenizer": "e",
        "secret": None, "judge": {"keyword": "f"},
    }  # fmt: skip
