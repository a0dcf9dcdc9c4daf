"""The names and values that charts hold on to."""

from typing import Any

from iterdpo.tracking.metrics import metrics

ESTIMATE = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8, "clusters": 4}


def result() -> dict[str, Any]:
    model = {
        "name": "M0", "iteration": 0, "fingerprint": "ab", "parent": None,
        "quality": {"mean": 3.5, "ci95": [3.25, 3.75], "n": 16},
        "gain": None,
        "judge": {"fixed_set": {"spearman": None, "calibration": [{"low": 0, "judged": 1}]},
                  "parse_rate": 1.0},
        "judged_mean": 3.0, "response_tokens": 9, "truncated_share": 0.0,
        "best_of": [{"n": 1, "quality": ESTIMATE}, {"n": 4, "quality": {**ESTIMATE, "mean": 1}}],
        "stages": {"policy": "base/1"},
    }  # fmt: skip
    comparison = {
        "model": "M1", "opponent": "M0", "judge": "oracle", "prompts": 8, "wins": 5, "ties": 1,
        "losses": 2, "flips": None, "unscored": 0, "win_rate": ESTIMATE, "standard_error": 0.1,
        "length_controlled": None, "prompts_needed": None,
        "stage": "comparisons/1",
    }  # fmt: skip
    return {
        "models": [model, {**model, "name": "M1", "gain": {"over_initial": ESTIMATE}}],
        "iterations": [
            {"iteration": 1, "pairs": {"kept": 7, "dropped": {"tie": 2}, "label_accuracy": None},
             "training": {"reference_unchanged": True, "reference_sha256": "ab"},
             "seconds": {"candidates": 1.5}}
        ],
        "comparisons": [comparison, {**comparison, "judge": "initial", "flips": 3}],
        "ratings": [{"model": "M1", "rating": 30.5, "low": 10.0, "high": 50.0}],
        "controls": [{"model": "M0", "temperature": 0.5, "quality": ESTIMATE,
                      "response_tokens": 7.5}],
        "alarms": [{"iteration": 1, "name": "length", "value": 2.0, "threshold": 1.5,
                    "message": "grew"}],
        "best": {"model": "M1"},
    }  # fmt: skip


def test_of_m0() -> None:
    assert metrics(result(), 0) == {
        "quality/mean": 3.5, "quality/ci95/low": 3.25, "quality/ci95/high": 3.75, "quality/n": 16,
        "judge/parse_rate": 1.0, "judged_mean": 3.0, "response_tokens": 9, "truncated_share": 0.0,
        "best_of/1/mean": 0.5, "best_of/1/low": 0.25, "best_of/1/high": 0.75, "best_of/1/n": 8,
        "best_of/1/clusters": 4,
        "best_of/4/mean": 1, "best_of/4/low": 0.25, "best_of/4/high": 0.75, "best_of/4/n": 8,
        "best_of/4/clusters": 4,
        "control/temperature_0.5/quality/mean": 0.5, "control/temperature_0.5/quality/low": 0.25,
        "control/temperature_0.5/quality/high": 0.75, "control/temperature_0.5/quality/n": 8,
        "control/temperature_0.5/quality/clusters": 4,
        "control/temperature_0.5/response_tokens": 7.5,
        "alarms": 0,
    }  # fmt: skip


def test_of_an_iteration() -> None:
    values = metrics(result(), 1)
    new = {name: value for name, value in values.items() if name not in metrics(result(), 0)}
    rate = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8, "clusters": 4}
    counts = {"prompts": 8, "wins": 5, "ties": 1, "losses": 2, "unscored": 0, "standard_error": 0.1}
    expected = {
        "pairs/kept": 7, "pairs/dropped/tie": 2, "training/reference_unchanged": 1,
        "seconds/candidates": 1.5, "rating/points": 30.5, "rating/low": 10.0, "rating/high": 50.0,
        "alarm/length": 2.0, "head_to_head/initial/vs_M0/flips": 3,
    }  # fmt: skip
    expected |= {f"gain/over_initial/{name}": value for name, value in rate.items()}
    for judge in ("oracle", "initial"):
        place = f"head_to_head/{judge}/vs_M0"
        expected |= {f"{place}/{name}": value for name, value in counts.items()}
        expected |= {f"{place}/win_rate/{name}": value for name, value in rate.items()}
    assert new == expected
    assert values["alarms"] == 1
    assert not any(isinstance(value, bool) for value in values.values())


def test_controls_that_a_model_met_are_named_behind_the_opponent() -> None:
    met = {"model": "M1", "opponent": "M0", "judge": "initial", "wins": 5}
    found = result() | {
        "comparisons": [],
        "against_controls": [met | {"control": "temperature 0.4"}, met | {"control": "greedy"}],
    }
    values = {name: value for name, value in metrics(found, 1).items() if "head_to_head" in name}
    assert values == {
        "head_to_head/initial/vs_M0_temperature_0.4/wins": 5,
        "head_to_head/initial/vs_M0_greedy/wins": 5,
    }


def test_a_summary_without_the_later_parts_is_read_as_well() -> None:
    values: dict[str, Any] = {
        "models": [{"name": "M0", "quality": None, "judge": {}, "response_tokens": 2.0}]
    }
    assert metrics(values, 0) == {"response_tokens": 2.0}
