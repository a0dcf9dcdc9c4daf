"""What becomes of vLLM's start, with a vLLM that only starts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from iterdpo.engines.card_holders import Holder
from iterdpo.engines.vllm_process import VllmProcess, VllmSettings
from iterdpo.errors import UserError
from iterdpo.runtime.signals import Stopped, StopRequest, heard

Start = Callable[..., object]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[[Start], VllmProcess]:
    """A function that starts vLLM, which does as it is told, on a card that an orphan holds."""

    def get(begin: Start) -> VllmProcess:
        current_platform = SimpleNamespace(is_cuda=lambda: True)
        monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=begin))
        platforms = SimpleNamespace(current_platform=current_platform)
        monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
        orphan = Holder(4711, 71680, "VLLM::EngineCore", orphan=True)
        monkeypatch.setattr("iterdpo.engines.vllm_process.card_holders", lambda: [orphan])
        return VllmProcess("weights", VllmSettings())

    return get


def test_a_start_that_fails_names_who_holds_the_card(
    start: Callable[[Start], VllmProcess],
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("Engine core initialization failed.")

    with pytest.raises(UserError) as error:
        start(fail)
    assert str(error.value) == (
        "engine=vllm: vLLM does not start (Engine core initialization failed.); the card is also "
        "held by process 4711 (VLLM::EngineCore, 70.0 GiB, left by a run that was killed): end it "
        "(kill 4711), or lower engine.vllm.memory_share, model.context or "
        "engine.vllm.max_sequences, or use engine=transformers"
    )


def test_a_signal_while_it_starts_stops_at_once_and_is_no_fault_of_vllm(
    start: Callable[[Start], VllmProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = StopRequest()
    monkeypatch.setattr("iterdpo.engines.vllm_process.process_request", lambda: request)

    def hear(**_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise RuntimeError("Engine core initialization failed.")  # its process heard it too

    with heard(request), pytest.raises(Stopped):
        start(hear)
