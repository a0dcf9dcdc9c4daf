"""Progress that never gets in the way."""

import io
import logging
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import redirect_stderr

import pytest

from iterdpo.runtime.progress import Bar, progress


class Terminal(io.StringIO):
    """A stderr that says it is a terminal, and may break."""

    broken = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.broken:
            raise BrokenPipeError
        return super().write(text)


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ITERDPO_PROGRESS", raising=False)


def test_a_terminal_shows_a_bar() -> None:
    with redirect_stderr(Terminal()) as terminal:
        assert list(progress(iter("abc"), 3, "M1 answers", "batches")) == ["a", "b", "c"]
    assert "M1 answers" in terminal.getvalue()
    assert "/3" in terminal.getvalue()


def test_the_bar_follows_and_takes_the_total_when_it_is_known() -> None:
    with redirect_stderr(Terminal()) as terminal, Bar("training", "steps") as bar:
        bar.update(0)
        assert "/50" not in terminal.getvalue()
        time.sleep(0.15)  # tqdm redraws ten times a second at most
        bar.update(20, 50)
    assert "20/50" in terminal.getvalue()


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_quiet(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "environment":
        monkeypatch.setenv("ITERDPO_PROGRESS", "off")
    with redirect_stderr(Terminal()) as terminal:
        assert list(progress([1, 2], 2, "x", "y", quiet=by == "argument")) == [1, 2]
    assert terminal.getvalue() == ""


def test_a_log_gets_no_bar_and_few_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "iterdpo.runtime.progress")
    clock = iter(range(0, 10_000, 25))  # 25 seconds pass between two looks at the clock
    monkeypatch.setattr("iterdpo.runtime.progress.time.monotonic", lambda: float(next(clock)))
    with redirect_stderr(io.StringIO()) as log_file:
        list(progress(range(6), 6, "M1 answers", "batches"))
    assert log_file.getvalue() == ""
    assert caplog.messages == [
        "M1 answers: 2 of 6 batches, 75 s",
        "M1 answers: 5 of 6 batches, 150 s",
    ]


def test_a_display_that_breaks_is_dropped() -> None:
    done = []
    with redirect_stderr(Terminal()) as terminal:
        for item in progress(range(5), 5, "x", "y"):
            terminal.broken = True
            done.append(item)
    assert "x" in terminal.getvalue()
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stderr", ["none", "closed"])
def test_without_stderr(stderr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed if stderr == "closed" else None)
    assert list(progress([1], None, "x", "y")) == [1]


def test_errors_of_the_work_come_through() -> None:
    def work() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with redirect_stderr(Terminal()), pytest.raises(ZeroDivisionError):
        list(progress(work(), 2, "x", "y"))


def test_nothing_is_taken_before_it_is_asked_for() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    with redirect_stderr(Terminal()):
        work = progress(numbers(), 3, "x", "y")
        assert taken == []
        next(work)
        assert taken == [0]
        assert isinstance(work, Generator)
        work.close()
