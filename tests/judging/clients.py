"""Clients of a server on this machine, and what they are answered."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.judging.chat_answers import Reply
from iterdpo.judging.chat_client import ChatClient, ClientSettings
from iterdpo.judging.pacing import Pace
from tests.judging.server import Script, Server, serving

KEY = "sk-very-secret-0123456789"
ASKED = [{"role": "user", "content": "Is it good?"}]


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds

    def __call__(self) -> float:
        return self.now


def client_of(
    url: str, clock: Clock | None = None, key: str | None = KEY, **changes: Any
) -> ChatClient:
    clock = clock or Clock()
    values: dict[str, Any] = {
        "base_url": url, "model": "judge-8b", "api_key_env": "JUDGE_KEY",
        "timeout_seconds": 60.0, "retries": 3, "requests_per_minute": None,
    }  # fmt: skip
    settings = ClientSettings(**(values | changes))
    return ChatClient(settings, key, pace=Pace(settings.requests_per_minute, clock.sleep, clock),
                      sleep=clock.sleep)  # fmt: skip


def ask(
    script: Script,
    clock: Clock | None = None,
    options: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[Reply, Server]:
    with serving(script) as server:
        client = client_of(server.url, clock, **changes)
        try:
            return client.ask(ASKED, options or {}), server
        finally:
            client.close()


def refusal(script: Script, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        ask(script, **changes)
    line = str(caught.value)
    assert "\n" not in line
    assert KEY not in line
    return line
