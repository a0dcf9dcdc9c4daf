"""A tracker that fails never stops a run, and says so once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from iterdpo.evaluation.ratings import Rating
from iterdpo.records import Policy
from iterdpo.rounds import Round
from iterdpo.tracking.base import NoTracker, StageArtifact
from iterdpo.tracking.metrics import without_prompts
from iterdpo.tracking.safe import SafeTracker
from tests.tracking.rounds import CONFIG, M0, initial_round, made_round, result_of

METHODS = ["start", "metrics", "curve", "table", "distributions", "alarm", "artifact", "finish"]


class Stub:
    """Remembers calls, and raises in one of them."""

    def __init__(self, fails_in: str = "", error: BaseException | None = None) -> None:
        self.fails_in = fails_in
        self.error = error or ValueError("server said\nno")
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if name not in (*METHODS, "abandon"):
            raise AttributeError(name)

        def called(*arguments: Any) -> None:
            self.calls.append((name, arguments))
            if name == self.fails_in:
                raise self.error

        return called

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


def remembering(fails_in: str = "", error: BaseException | None = None) -> Any:
    return Stub(fails_in, error)


def use(tracker: Any, place: Path, samples: int = 2) -> SafeTracker:
    guarded = SafeTracker(tracker, samples)
    result = result_of(0)
    guarded.start(CONFIG, {"torch": "2"}, place)
    guarded.round(initial_round(), result)
    result = result_of(1)
    guarded.round(made_round(place), result)
    guarded.finish(result, failed=False)
    return guarded


def test_a_tracker_that_works_is_told_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stub = remembering()
    use(stub, tmp_path)
    assert [name for name, _ in stub.calls] == [
        "start", "metrics", "curve", "distributions", "table", "table", "artifact", "artifact",
        "metrics", "alarm", "finish",
    ]  # fmt: skip
    assert caplog.records == []


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_warns_once_and_ends_tracking(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stub = remembering(method)
    use(stub, tmp_path)
    assert len(stub.of(method)) == 1
    assert [name for name, _ in stub.calls][-2:] == [method, "abandon"], "nothing is called after"
    where = {"start": "start", "finish": "finish", "metrics": "round 0"}.get(method, "round 1")
    assert [record.getMessage() for record in caplog.records] == [
        f"tracking: Stub failed in {where} (ValueError: server said no); tracking is off for the "
        "rest of the run, its data stays in the run directory"
    ]


def test_what_cannot_be_put_together_is_guarded_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = SafeTracker(remembering(), samples=2)
    guarded.round(cast("Round", SimpleNamespace(iteration=3, policy=None)), result_of(0))
    assert "failed in round 3 (AttributeError" in caplog.text


def test_an_interruption_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        use(remembering("metrics", KeyboardInterrupt()), tmp_path)


def test_no_tracker_is_told_nothing_and_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = SafeTracker(NoTracker(), samples=2)
    guarded.start({}, {}, tmp_path)
    guarded.round(cast("Round", SimpleNamespace(iteration=0)), result_of(0))  # nothing looks at it
    guarded.finish(None, failed=True)
    assert caplog.records == []


def test_each_iteration_comes_with_its_own(tmp_path: Path) -> None:
    stub = remembering()
    use(stub, tmp_path)
    (zero, numbers), (one, _) = stub.of("metrics")
    assert (zero, one) == (0, 1)
    assert numbers["quality/mean"] == 3.0
    ((name, rows),) = stub.of("curve")
    assert name == "M1"
    assert [row["train/M1/step"] for row in rows] == [1, 2]
    tables = {name: rows for _, name, rows in stub.of("table")}
    assert len(tables["samples"]) == 4  # two prompts with two answers
    assert len(tables["preference_pairs"]) == 2
    assert stub.of("alarm") == [("M1: response_length", "answers grew")]


def test_without_samples_no_text_is_told(tmp_path: Path) -> None:
    stub = remembering()
    use(stub, tmp_path, samples=0)
    assert stub.of("table") == []
    told = json.dumps([arguments for _, arguments in stub.calls], default=str)
    for text in ("name a tool", "a hammer", "an apple"):
        assert text not in told
    assert stub.of("distributions")


def test_pairs_and_adapter_name_what_they_come_from(tmp_path: Path) -> None:
    stub = remembering()
    use(stub, tmp_path)
    told: list[StageArtifact] = [artifact for (artifact,) in stub.of("artifact")]
    pairs, adapter = told
    assert (pairs.kind, pairs.name, pairs.made_from) == ("pairs", "M1", ())
    assert pairs.metadata["written_by"] == pairs.metadata["judged_by"] == "M0"
    assert (adapter.kind, adapter.made_from) == ("adapter", (("pairs", "M1"),))
    assert adapter.files == ("adapter/adapter_model.safetensors", "training.json", "stage.json")
    policy = made_round(tmp_path).policy.value
    assert adapter.metadata["fingerprint"] == policy.fingerprint
    assert adapter.metadata["sha256"] == policy.adapter.sha256
    assert adapter.metadata["parent"] == "M0"
    assert adapter.metadata["base"] == policy.base.fingerprint
    assert adapter.metadata["stage"] == "adapter/k-adapter"


def test_the_second_training_follows_the_first_on_the_axis_of_the_run(tmp_path: Path) -> None:
    stub = remembering()
    guarded = SafeTracker(stub, samples=0)
    guarded.round(initial_round(), result_of(0))
    guarded.round(made_round(tmp_path, 1), result_of(1))
    guarded.round(made_round(tmp_path, 2), result_of(2))
    assert [row["train/step"] for _, rows in stub.of("curve") for row in rows] == [1, 2, 3, 4]
    assert [row["train/M2/step"] for row in stub.of("curve")[1][1]] == [1, 2]
    second = [artifact for (artifact,) in stub.of("artifact")][2:]
    assert [item.made_from for item in second] == [
        (("adapter", "M1"),), (("pairs", "M2"), ("adapter", "M1")),
    ]  # fmt: skip


def test_a_model_of_which_every_weight_was_trained_is_no_adapter(tmp_path: Path) -> None:
    stub = remembering()
    guarded = SafeTracker(stub, samples=0)
    guarded.round(initial_round(), result_of(0))
    parent = M0.fingerprint
    for iteration in (1, 2):
        done = made_round(tmp_path, iteration)
        whole = replace(M0.base, sha256=f"{iteration}" * 64)
        policy = Policy(f"M{iteration}", whole, None, parent=parent)
        trained = replace(done.policy, value=policy)
        done.policy = done.made.trained = trained
        parent = policy.fingerprint
        guarded.round(done, result_of(iteration))
    told: list[StageArtifact] = [artifact for (artifact,) in stub.of("artifact")]
    assert [item.kind for item in told] == ["pairs", "weights"] * 2
    assert told[3].made_from == (("pairs", "M2"), ("weights", "M1"))
    assert told[3].metadata["sha256"] == "2" * 64


def test_an_iteration_without_a_pair_trains_nothing(tmp_path: Path) -> None:
    stub = remembering()
    guarded = SafeTracker(stub, samples=2)
    guarded.round(initial_round(), result_of(0))
    guarded.round(made_round(tmp_path, trained=False), result_of(1))
    assert stub.of("curve") == stub.of("artifact") == []
    assert [name for _, name, rows in stub.of("table") if rows] == ["samples"]


def test_numbers_that_come_late_are_told_at_the_end_and_the_last_model_s_again(
    tmp_path: Path,
) -> None:
    stub = remembering()
    guarded = SafeTracker(stub, samples=0)
    guarded.round(initial_round(), result_of(0))
    first, last = Rating("M1", 20.0, None, None), Rating("M0", 0.0, None, None)
    guarded.round(made_round(tmp_path), replace(result_of(1), ratings=(first,)))
    late = replace(result_of(1), ratings=(first, last))
    guarded.finish(late, failed=True)
    assert stub.of("metrics")[2:] == [(0, {"rating/points": 0.0}), (1, {"rating/points": 20.0})]
    assert stub.of("finish") == [(without_prompts(late), True)]


def test_a_run_that_failed_before_its_first_model_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stub = remembering()
    SafeTracker(stub, samples=0).finish(None, failed=True)
    assert stub.calls == [("finish", ({}, True))]
    assert caplog.records == []
