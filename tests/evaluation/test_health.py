"""Alarms: each sign at its limit and beyond it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from iterdpo.config.health import HealthConfig
from iterdpo.evaluation.health import SIGNS, HealthMetrics, alarms, chosen_fall, unproven_rise

LIMITS = HealthConfig(
    on_alarm="warn",
    max_tie_rate=0.5,
    max_length_ratio=1.25,
    max_length_growth=1.5,
    min_score_mass=0.5,
    max_mean_score=0.95,
    max_chosen_fall=0.5,
    max_duplicates=0.5,
    max_unscored=0.2,
    max_unproven_rise=0.25,
)
M0 = HealthMetrics(0, "M0", response_tokens=10.0, judged_mean=3.0)
M1 = HealthMetrics(1, "M1", response_tokens=12.0, judged_mean=3.5, parent="M0",
            fixed_gain=0.3, fixed_gain_low=0.1)  # fmt: skip


def measured(metrics: HealthMetrics, name: str, value: float) -> HealthMetrics:
    changes: dict[str, Any] = {name: value}
    return replace(metrics, **changes)


def names(*history: HealthMetrics, limits: HealthConfig = LIMITS) -> list[str]:
    return [alarm.name for alarm in alarms(history, limits)]


def test_every_limit_has_a_sign() -> None:
    limits = {field.name for field in fields(HealthConfig)} - {"on_alarm"}
    assert {name for name, _, _ in SIGNS} == limits


def test_a_healthy_model_raises_nothing() -> None:
    assert names(M0) == []
    assert names(M0, M1) == []


@pytest.mark.parametrize(
    ("name", "field", "at", "beyond"),
    [
        ("max_tie_rate", "tie_rate", 0.5, 0.51),
        ("max_length_ratio", "length_ratio", 1.25, 1.26),
        ("max_length_growth", "response_tokens", 15.0, 15.1),
        ("min_score_mass", "score_mass", 0.5, 0.49),
        ("max_mean_score", "mean_score", 0.95, 0.96),
        ("max_chosen_fall", "chosen_fall", 0.5, 0.51),
        ("max_duplicates", "duplicates", 0.5, 0.51),
        ("max_unscored", "unscored", 0.2, 0.21),
    ],
)
def test_a_sign_beyond_its_limit_is_an_alarm_unless_it_is_switched_off(
    name: str, field: str, at: float, beyond: float
) -> None:
    assert names(M0, measured(M1, field, at)) == []
    (alarm,) = alarms([M0, measured(M1, field, beyond)], LIMITS)
    assert (alarm.iteration, alarm.name, alarm.threshold) == (1, name, getattr(LIMITS, name))
    expected = 1.51 if name == "max_length_growth" else beyond
    assert alarm.value == pytest.approx(expected)
    assert alarm.message.startswith("M1: ")
    assert f"(health.{name}={getattr(LIMITS, name):g})" in alarm.message
    assert "\n" not in alarm.message
    changes: dict[str, Any] = {name: None}
    off = replace(LIMITS, **changes)
    assert names(M0, measured(M1, field, beyond), limits=off) == []


def test_a_judge_that_is_pleased_alone_raises_an_alarm() -> None:
    # M1 gives itself half a point more than M0 gave itself.
    assert unproven_rise([M0, M1]) is None  # and the fixed judge sees a gain as well
    flat = replace(M1, fixed_gain_low=-0.1)
    assert unproven_rise([M0, flat]) == 0.5
    assert names(M0, flat) == ["max_unproven_rise"]
    assert names(M0, replace(flat, fixed_gain_low=None)) == ["max_unproven_rise"]  # one prompt
    assert names(M0, replace(flat, judged_mean=3.25)) == []
    assert names(M0, replace(flat, fixed_gain=None)) == []  # nobody else judges
    assert names(M0, replace(flat, judged_mean=None)) == []


def test_what_is_said_is_true_whoever_preferred_and_judged() -> None:
    # Given pairs were made by nobody here; a ranker judges every model, and is none of them.
    longer = replace(M1, length_ratio=1.5, fixed_gain_low=-0.1)
    said = [alarm.message for alarm in alarms([M0, longer], LIMITS)]
    assert said == [
        "M1: chosen answers are 1.50 times as long as rejected ones: length is rewarded "
        "(health.max_length_ratio=1.25)",
        "M1: its answers are judged +0.50 points better, and the fixed judge sees no gain "
        "(health.max_unproven_rise=0.25)",
    ]


def test_the_rise_is_over_the_model_that_it_came_from() -> None:
    # After M1's alarm the run went back to M0: M2 is half a point above M0, level with M1.
    m2 = replace(M1, iteration=2, model="M2", fixed_gain_low=-1.0)
    assert unproven_rise([M0, M1, m2]) == 0.5
    assert unproven_rise([M0, M1, replace(m2, parent="M1")]) == 0.0


def test_the_fall_of_chosen_answers_is_in_nats_a_token() -> None:
    # 20 steps: the first two average -10, the last two -16; answers of 4 tokens: 6 / 4.
    logps = [-9.0, -11.0, *[-12.0] * 16, -15.0, -17.0]
    assert chosen_fall([{"logps/chosen": value} for value in logps], 4.0) == 1.5
    assert chosen_fall([{"logps/chosen": -3.0}, {"logps/chosen": -2.0}], 2.0) == -0.5
    assert chosen_fall([{"logps/chosen": -3.0}], 2.0) is None
    assert chosen_fall([{"loss": 1.0}] * 5, 2.0) is None
    assert chosen_fall([{"logps/chosen": -3.0}] * 5, 0.0) is None
