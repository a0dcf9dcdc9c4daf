"""A tracker that fails never stops a run, and says so once."""

from collections.abc import Mapping, Sequence

import pytest

from iterdpo.tracking.base import Guarded, NoTracker, Tracker

METHODS = ["start", "metrics", "samples", "finish"]


class Stub:
    """Remembers calls, and raises in one of them."""

    def __init__(self, fails_in: str = "", error: BaseException | None = None) -> None:
        self.fails_in = fails_in
        self.error = error or ValueError("server said\nno")
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_in:
            raise self.error

    def start(self, config: Mapping[str, object], run_name: str, group: str | None) -> None:
        self._called("start")

    def metrics(self, iteration: int, values: Mapping[str, float | int]) -> None:
        self._called("metrics")

    def samples(self, iteration: int, rows: Sequence[Mapping[str, object]]) -> None:
        self._called("samples")

    def finish(self, summary: Mapping[str, object]) -> None:
        self._called("finish")


def use(tracker: Tracker) -> None:
    tracker.start({}, "run", None)
    for iteration in (0, 1):
        tracker.metrics(iteration, {"quality": 3.0})
        tracker.samples(iteration, [{"prompt": "p"}])
    tracker.finish({})


def test_a_tracker_that_works_gets_every_call(caplog: pytest.LogCaptureFixture) -> None:
    stub = Stub()
    use(Guarded(stub))
    assert stub.calls == ["start", "metrics", "samples", "metrics", "samples", "finish"]
    assert caplog.records == []


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_warns_once_and_ends_tracking(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    stub = Stub(method)
    use(Guarded(stub))
    assert stub.calls.count(method) == 1
    assert stub.calls[-1] == method, "nothing is called after a failure"
    assert [record.getMessage() for record in caplog.records] == [
        f"tracking: Stub.{method} failed (ValueError: server said no); tracking is off for the "
        "rest of the run, its data stays in the run directory"
    ]


def test_an_interruption_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        use(Guarded(Stub("metrics", KeyboardInterrupt())))


def test_no_tracker_takes_every_call(caplog: pytest.LogCaptureFixture) -> None:
    use(Guarded(NoTracker()))
    assert caplog.records == []
