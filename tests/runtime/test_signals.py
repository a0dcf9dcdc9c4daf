"""Signals, as a terminal, a cluster or a spot machine sends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iterdpo.evaluation.summary_file import read_summary
from iterdpo.runtime.signals import Stopped, StopRequest, heard
from iterdpo.tracking.run_id import RUN_ID_FILE
from tests.commands import run_python
from tests.loop.sizes import LITTLE_MEASURED
from tests.processes import program_that_waits, started_with, until_it_waits


def test_the_first_signal_is_noted_and_told_and_handlers_are_put_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    request = StopRequest()
    with heard(request):
        request.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match="stopped by SIGTERM") as stopped:
            request.check()
    assert stopped.value.exit_status == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "once more stops at once" in capfd.readouterr().err


@pytest.mark.parametrize("hidden", [None, ValueError], ids=["hidden", "taken for a fault"])
def test_a_signal_ends_what_is_not_worth_finishing_even_where_that_is_hidden(
    hidden: type[Exception] | None, capfd: pytest.CaptureFixture[str]
) -> None:
    request, came_after = StopRequest(), []

    def start() -> None:
        with request.at_once():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                came_after.append("the signal")
            except BaseException as error:
                if hidden:
                    raise hidden from error

    with heard(request):
        for _ in range(2):  # the second begins with what was noted in the first
            with pytest.raises(Stopped, match="stopped by SIGTERM"):
                start()
    assert came_after == []
    assert "finishing" not in capfd.readouterr().err


def test_the_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import os, signal, sys\n"
        "from iterdpo.runtime.signals import StopRequest, heard\n"
        "with heard(StopRequest()):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    sys.exit(0)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 130


def test_a_worker_leaves_a_second_signal_to_its_parent_and_listens_on() -> None:
    code = (
        "import os, signal, sys\n"
        "from iterdpo.runtime.signals import StopRequest, heard\n"
        "request = StopRequest()\n"
        "request._parent = os.getppid()\n"
        "with heard(request, quiet=True):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(request.number)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == signal.SIGINT


PARENT = """
import multiprocessing, sys, time
from pathlib import Path
from iterdpo.runtime.signals import Stopped, heard, process_request

def work(place):
    for job in range(2):
        request = process_request()
        with heard(request, quiet=True):
            try:
                while True:
                    request.check()
                    place.with_name("ready-" + place.name).touch()
                    time.sleep(0.02)
            except Stopped as stopped:
                place.with_name(f"{place.name}-job-{job}").write_text(str(stopped))
    while request.orphaned:
        time.sleep(1)  # as a pool's worker waits for another job

if __name__ == "__main__":
    request = process_request()
    with heard(request, pass_on=True):
        places = [Path(sys.argv[1]) / str(number) for number in range(2)]
        started = multiprocessing.get_context("spawn")
        workers = [started.Process(target=work, args=(place,)) for place in places]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    request.check()
"""


@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGINT, True),
     (signal.SIGKILL, False)],
    ids=["terminated", "interrupted", "interrupted at the terminal", "killed"],
)  # fmt: skip
def test_workers_stop_with_their_parent_and_begin_nothing_more(
    tmp_path: Path, number: signal.Signals, to_all: bool
) -> None:
    """A terminal sends SIGINT to all; that they hear of it again from their parent ends nobody."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    told = tmp_path / "told"  # a file: a pipe ends with the last who could write to it
    with told.open("w") as file, subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stderr=file,
        env=os.environ | {"STARTED_BY": str(tmp_path)}, start_new_session=True,
    ) as parent:  # fmt: skip
        while len(list(tmp_path.glob("ready-*"))) < 2 and parent.poll() is None:
            time.sleep(0.02)
        if to_all:
            os.killpg(parent.pid, number)
        else:
            parent.send_signal(number)
    assert told.read_text().count("finishing what is in hand") == (number != signal.SIGKILL)
    until = time.monotonic() + 60
    while started_with(f"STARTED_BY={tmp_path}") and time.monotonic() < until:
        time.sleep(0.05)
    assert started_with(f"STARTED_BY={tmp_path}") == set()
    name = "SIGINT" if number == signal.SIGINT else "SIGTERM"
    left = {path.name: path.read_text() for path in tmp_path.glob("*-job-*")}
    if number == signal.SIGKILL:  # then they may end before they look at their second job
        left = {f"{worker}-job-1": f"stopped by {name}" for worker in "01"} | left
    assert left == {f"{worker}-job-{job}": f"stopped by {name}" for worker in "01" for job in "01"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "process"),
    [(signal.SIGTERM, 143, "inline"), (signal.SIGINT, 130, "spawn")],
)
def test_a_run_stops_says_how_to_go_on_and_goes_on(
    tmp_path: Path, number: signal.Signals, status: int, process: str
) -> None:
    def command(run: str) -> list[str]:
        return [
            "experiment=smoke", "iterations=1", "tracking=wandb", "engine.device=cpu",
            "engine.shard_rows=24", "engine.transformers.batch_size=24", *LITTLE_MEASURED,
            f"training.process={process}",
            f"store.root={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / run}",
        ]  # fmt: skip

    # In the middle of the first iteration's candidates: a part is there, another is in hand.
    with subprocess.Popen(
        [*program_that_waits("candidates", done=1), *command("first")], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"STARTED_BY": str(tmp_path)},
    ) as child:  # fmt: skip
        until_it_waits(child)
        assert child.pid in started_with(f"STARTED_BY={tmp_path}")
        child.send_signal(number)
        said = child.communicate()[1]
    assert child.returncode == status
    assert "run the same command again to resume" in said.splitlines()[-1]
    assert "Traceback" not in said
    until = time.monotonic() + 60
    while started_with(f"STARTED_BY={tmp_path}") and time.monotonic() < until:
        time.sleep(0.05)
    assert started_with(f"STARTED_BY={tmp_path}") == set()

    parts = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "store").glob("candidates/.work-*/*/shards/*.parquet")
    }
    again = run_python("-m", "iterdpo", *command("again"), check=True)
    assert f"resuming what {tmp_path / 'first'} left" in again.stderr
    assert len(parts) == 2
    assert not any(path.exists() for path in parts)  # they are in the finished stage
    made = read_summary(tmp_path / "again").iterations[0]
    assert 0 < made.generated_tokens_new < made.generated_tokens
    ids = {(tmp_path / run / RUN_ID_FILE).read_text() for run in ("first", "again")}
    assert len(ids) == 1
