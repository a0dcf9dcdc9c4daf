"""The streaming engine says what the run's engine says, bit by bit, and stops when told."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from iterdpo.engines.base import Sampling
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.models.chat_messages import Request
from iterdpo.runs.directory import Run
from iterdpo.tools.chat.__main__ import main
from iterdpo.tools.chat.talker import ContextFullError, StreamingEngine
from tests.narrowing import answered

GREEDY = Sampling(temperature=0.0, max_tokens=12)
REQUEST = Request.of("Name three animals in alphabetical order.")


@pytest.fixture(scope="module")
def run(finished_run: Path) -> Run:
    return Run.open(finished_run)


@pytest.fixture(scope="module")
def talker() -> Iterator[StreamingEngine]:
    engine = StreamingEngine(TransformersSettings(device="cpu"))
    yield engine
    engine.close()


@pytest.mark.parametrize("name", ["M0", "M2"])
def test_greedy_text_is_that_of_the_engine(run: Run, talker: StreamingEngine, name: str) -> None:
    policy = run.policy(name)
    engine = TransformersEngine(TransformersSettings(device="cpu"))
    (whole,) = answered(engine.generate([REQUEST], policy, GREEDY))
    assert "".join(talker.reply(REQUEST, policy, GREEDY)) == whole.text


def test_it_comes_in_pieces_and_the_same_seed_says_the_same(
    run: Run, talker: StreamingEngine
) -> None:
    # Bytes of a random model are split at white space at best, so ask for many.
    sampling = Sampling(max_tokens=120, seed=1)
    pieces = list(talker.reply(REQUEST, run.policy("M1"), sampling))
    assert len(pieces) > 1
    assert "".join(talker.reply(REQUEST, run.policy("M1"), sampling)) == "".join(pieces)


def test_closing_stops_the_thread(run: Run, talker: StreamingEngine) -> None:
    answer = talker.reply(REQUEST, run.policy("M0"), Sampling(max_tokens=3000, seed=1))
    next(answer)
    (writer,) = (item for item in threading.enumerate() if item.name.endswith("(_write)"))
    assert isinstance(answer, Generator)
    answer.close()
    assert not writer.is_alive()


def test_a_failure_in_the_thread_is_raised_here(
    run: Run, talker: StreamingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(StreamingEngine, "generation", broken)
    with pytest.raises(ZeroDivisionError):
        list(talker.reply(REQUEST, run.policy("M0"), GREEDY))


def test_the_answer_ends_where_the_context_does(run: Run) -> None:
    with_chat = StreamingEngine(TransformersSettings(device="cpu", context=64))
    policy = run.policy("M0")
    engine = TransformersEngine(TransformersSettings(device="cpu"))
    (whole,) = answered(engine.generate([REQUEST], policy, Sampling(temperature=0.0, max_tokens=1)))
    room = 64 - len(whole.prompt_token_ids)
    (fits,) = answered(
        engine.generate([REQUEST], policy, Sampling(temperature=0.0, max_tokens=room))
    )
    more_than_fits = Sampling(temperature=0.0, max_tokens=1000)
    assert "".join(with_chat.reply(REQUEST, policy, more_than_fits)) == fits.text
    with pytest.raises(ContextFullError, match="the model holds 64"):
        list(with_chat.reply(Request.of("animals " * 80), policy, GREEDY))


def test_the_tool_on_a_pipe(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("/models\nhello\n/model M0\n/all\n"))
    status = main([
        str(finished_run), "--model", "M2", "--max-tokens", "3", "--temperature", "0"
    ])  # fmt: skip
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert "M0 M1 [M2]" in captured.err
    assert [line.split()[0] for line in captured.out.splitlines() if line.startswith("[M")] == [
        "[M0]", "[M1]", "[M2]"
    ]  # fmt: skip


def test_errors_are_one_line(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert main([str(finished_run), "--model", "M9"]) == 2
    assert main([str(finished_run), "--max-tokens", "0"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["iterdpo.chat"] * 3
