"""What vLLM is told through the environment, without vLLM."""

from __future__ import annotations

import os

import pytest

from iterdpo.engines import vllm_process
from iterdpo.engines.vllm_process import VllmProcess, VllmSettings


def test_vllm_is_told_what_to_log_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    class ImportedError(Exception):
        """Where vLLM would be imported."""

    def imported(device: str) -> bool:
        raise ImportedError(os.environ.get("VLLM_LOGGING_LEVEL"))

    monkeypatch.setattr(vllm_process, "_on_cuda", imported)
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    with pytest.raises(ImportedError, match="DEBUG"):
        VllmProcess("", VllmSettings())
    monkeypatch.delenv("VLLM_LOGGING_LEVEL")
    with pytest.raises(ImportedError, match="ERROR"):
        VllmProcess("", VllmSettings())
