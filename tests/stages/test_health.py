"""The check after every model: what it reads off an iteration, and by what it names the best."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iterdpo.config.health import HealthConfig
from iterdpo.models.layout import TRAINING_FILE
from iterdpo.pairing.base import DropReason, Pairing
from iterdpo.records import (
    OFFLINE,
    Candidate,
    Comparison,
    FinishReason,
    Judgment,
    Pair,
    Scored,
    Unscored,
    UnscoredReason,
)
from iterdpo.stages.health import CheckHealth, best_so_far, fixed_gain, share_of_scale
from iterdpo.store.stage import Work
from tests.narrowing import bounds, present

LIMITS = HealthConfig(
    on_alarm="warn", max_tie_rate=0.5, max_length_ratio=None, max_length_growth=None,
    min_score_mass=None, max_mean_score=None, max_chosen_fall=None, max_duplicates=None,
    max_unscored=None, max_unproven_rise=None,
)  # fmt: skip
PROMPTS = ("p", "q", "r", "s")


def stored(value: Any, **others: Any) -> Any:
    """Return what stands for a ``Stored``: as much of it as a check looks at."""
    return SimpleNamespace(value=value, **others)


def model(name: str, oracle: float | None = None, judged: float = 3.0) -> tuple[Any, Any]:
    """A policy and what was measured of it: a little above and below a mean, by prompt."""

    def around(mean: float) -> dict[str, tuple[float, ...]]:
        return {prompt: (mean + 0.01 * n,) for n, prompt in enumerate(PROMPTS)}

    evaluation = SimpleNamespace(
        sampled_by_prompt={} if oracle is None else around(oracle),
        judged_by_prompt=around(judged),
        judged_mean=judged,
        response_tokens=10.0,
    )
    return stored(SimpleNamespace(name=name)), stored(evaluation)


def compared(outcome: float, prompts: int = 20) -> Any:
    return stored(
        tuple(Comparison(f"c{n}", f"p{n}", "a", "b", "j", outcome, outcome) for n in range(prompts))
    )


def test_exact_scores_come_before_comparisons_and_those_before_a_models_own_word() -> None:
    m0, m1 = model("M0", 4.0), model("M1", 3.0, judged=5.0)
    worse = [(*m0, None), (*m1, compared(1.0))]
    assert (best_so_far(worse).model, best_so_far(worse).by) == ("M0", "oracle")
    m0, m1 = model("M0"), model("M1", judged=1.0)
    beaten = best_so_far([(*m0, None), (*m1, compared(1.0))])
    assert (beaten.model, beaten.by) == ("M1", "head_to_head")
    assert best_so_far([(*m0, None), (*m1, compared(1.0, prompts=2))]).model == "M0"
    m0, m1 = model("M0"), model("M1", judged=4.0)
    alone = best_so_far([(*m0, None), (*m1, None)])
    assert (alone.model, alone.by) == ("M1", "judge")


def test_a_gain_is_in_the_oracles_points_or_the_win_rate_less_a_half() -> None:
    exact = [(*model("M0", 3.0), None), (*model("M1", 3.5), compared(1.0))]
    assert present(fixed_gain(exact, "M0", compared(1.0))).mean == pytest.approx(0.5)
    asked = [(*model("M0"), None), (*model("M1"), compared(0.0))]
    assert present(fixed_gain(asked, "M0", compared(0.0))).mean == -0.5
    assert fixed_gain(asked, "M0", None) is None
    low, _ = bounds(fixed_gain(asked, "M0", compared(1.0, prompts=2)))
    assert low < 0, "two wins prove no gain"
    assert fixed_gain(asked, "M0", stored(())) is None


def test_a_score_without_bounds_has_no_place_between_them() -> None:
    assert share_of_scale(4.0, (1.0, 5.0)) == 0.75
    assert share_of_scale(4.0, None) is None


def test_what_a_check_reads_off_an_iteration(tmp_path: Path) -> None:
    # Two prompts, three answers each: 2, 4 and 2 words, and 1, 1 and 3.
    texts = {"p": ["a b", "a b c d", "a b"], "q": ["a", "b", "a b c"]}
    candidates = [
        Candidate(f"{prompt}{n}", prompt, n, text, (1,), (1,) * len(text.split()), (),
                  FinishReason.STOP, "m", 0)
        for prompt, written in texts.items()
        for n, text in enumerate(written)
    ]  # fmt: skip
    scores = dict(zip([item.id for item in candidates], [1, 5, 3, 2, None, 4], strict=True))
    judgments = [
        Judgment(name, name, name[0], "j",
                 Unscored(UnscoredReason.NO_MASS) if score is None else Scored(float(score)),
                 mass=0.5 if score is None else 0.9)
        for name, score in scores.items()
    ]  # fmt: skip
    pair = Pair("id", "p", "p1", "p0", "", "", "", 5.0, 1.0, "m", "j")
    dropped = {DropReason.TIE: 2, DropReason.MARGIN: 1, DropReason.EMPTY: 0}
    history = [{"logps/chosen": value} for value in (-3.0, -4.0, -7.0)]
    (tmp_path / TRAINING_FILE).write_text(json.dumps({"history": history}))
    step = CheckHealth(LIMITS, (0.0, 5.0))
    (m0, measured0), (m1, measured1) = model("M0", 3.0), model("M1", 3.5)
    for name in ("zero", "one"):
        (tmp_path / name).mkdir()
    first = Work(tmp_path / "zero", tmp_path / "kept", "0" * 64)
    nothing = dict.fromkeys(
        "to_initial to_parent parent candidates judgments pairs trained before".split()
    )
    inputs: dict[str, Any] = {"iteration": 0, "policy": m0, "evaluation": measured0, **nothing}
    step.compute(first, **inputs)
    before = stored(step.load(tmp_path / "zero"), kwargs=inputs)
    assert before.value.alarms == ()
    assert before.value.metrics.parent is None

    metrics = step.compute(
        Work(tmp_path / "one", tmp_path / "kept", "1" * 64),
        iteration=1,
        policy=m1,
        evaluation=measured1,
        to_initial=None,
        to_parent=None,
        parent=m0,
        candidates=stored(tuple(candidates)),
        judgments=stored(tuple(judgments)),
        pairs=stored(Pairing((pair,), dropped)),
        trained=stored(None, directory=tmp_path),
        before=before,
    )
    found = step.load(tmp_path / "one")
    assert dataclasses.asdict(found.metrics) == {
        "iteration": 1, "model": "M1", "parent": "M0", "response_tokens": 10.0, "judged_mean": 3.0,
        "fixed_gain": pytest.approx(0.5), "fixed_gain_low": pytest.approx(0.5),
        "tie_rate": 2 / 4,  # one pair kept, three dropped
        "length_ratio": 4 / 2,
        "score_mass": pytest.approx((5 * 0.9 + 0.5) / 6),
        "mean_score": pytest.approx((1 + 5 + 3 + 2 + 4) / 5 / 5),
        "chosen_fall": (-3 + 7) / 4,  # the chosen answer has 4 tokens
        "duplicates": 2 / 6,
        "unscored": pytest.approx(1 / 6),
    }  # fmt: skip
    assert found.alarms == ()  # 0.5 is not above 0.5
    assert metrics == {"alarms": [], "best": "M1"}


def test_rows_that_share_a_given_answer_are_no_lack_of_choice() -> None:
    def answers(policy: Any) -> Any:
        return [
            Candidate(f"{n}", "p", n, "the best", (1,), (1,), (), FinishReason.STOP, policy, 0)
            for n in range(2)
        ]

    step = CheckHealth(LIMITS, None)
    assert step._of_iteration(answers("m"), [], Pairing((), {}))["duplicates"] == 1
    assert step._of_iteration(answers(OFFLINE), [], Pairing((), {}))["duplicates"] is None


def test_what_is_done_about_an_alarm_is_no_part_of_a_check() -> None:
    usual, other = (
        CheckHealth(dataclasses.replace(LIMITS, on_alarm=action), (0.0, 5.0)).settings
        for action in ("warn", "keep_best")
    )
    assert usual == other
    limits = dataclasses.replace(LIMITS, max_tie_rate=0.4)
    assert CheckHealth(limits, (0.0, 5.0)).settings != usual
