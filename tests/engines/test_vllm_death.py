"""How a run hears of the end of vLLM's engine process, with a client that behaves as vLLM's."""

from __future__ import annotations

import queue
import sys
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from iterdpo.engines.vllm_death import death_named, require_not_taken_back, wake_at_death
from iterdpo.errors import EngineDiedError


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's errors, without vLLM."""
    dead = type("EngineDeadError", (Exception,), {})
    module = SimpleNamespace(EngineDeadError=dead)
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.exceptions", module)


class Client:
    """vLLM's ``SyncMPClient`` as far as it matters: a thread reads answers until it is told of the
    process's end, and then ends without a word."""

    def __init__(self) -> None:
        self.died = threading.Event()
        self.output_queue_thread = threading.Thread(target=self.died.wait, daemon=True)
        self.output_queue_thread.start()
        self.outputs_queue: queue.Queue[object] = queue.Queue()
        self.utility_results: dict[int, Future[object]] = {}
        codes = {"EngineCore": -9}
        self.resources = SimpleNamespace(
            engine_manager=SimpleNamespace(finished_procs=lambda: codes)
        )

    def get_output(self) -> object:
        output = self.outputs_queue.get(timeout=60)
        if isinstance(output, Exception):
            raise output
        return output


def test_whoever_waits_for_an_answer_hears_of_the_end_after_the_last_answer() -> None:
    client = Client()
    call: Future[object] = Future()
    client.utility_results[1] = call
    wake_at_death(client)
    client.outputs_queue.put("the last answer")
    client.died.set()
    assert client.get_output() == "the last answer"
    with pytest.raises(
        EngineDiedError, match=r"^engine=vllm: .* ended with exit status -9 while .* resume$"
    ), death_named(client):  # fmt: skip
        client.get_output()
    with pytest.raises(EngineDiedError), death_named(client):
        call.result(timeout=60)


def test_a_model_in_this_process_is_not_watched() -> None:
    threads = threading.active_count()
    wake_at_death(SimpleNamespace())
    assert threading.active_count() == threads


def test_requests_that_are_taken_back_are_no_answers() -> None:
    def output(*reasons: str) -> Any:
        return SimpleNamespace(outputs=[SimpleNamespace(finish_reason=one) for one in reasons])

    require_not_taken_back(output("stop", "length"))
    with pytest.raises(EngineDiedError, match="told to end, and took back what it was asked"):
        require_not_taken_back(output("stop", "abort"))
