from __future__ import annotations

import importlib
import time

import pytest

from experiments import store_cost


def test_nested_calls_count_once_and_errors_still_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = store_cost.Watch()
    inner = watch.timed(lambda: None)
    watch.timed(lambda: inner())()  # 5 s, whatever the inner one takes

    def fail() -> None:
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        watch.timed(fail)()
    assert watch.seconds == 5.0 + 2.0


def test_every_call_that_is_timed_exists() -> None:
    for name in store_cost.STORE_CALLS:
        target, _, attribute = name.rpartition(".")
        try:
            owner = importlib.import_module(target)
        except ModuleNotFoundError:
            parent, _, holder = target.rpartition(".")
            owner = getattr(importlib.import_module(parent), holder)
        assert callable(getattr(owner, attribute)), name
