"""What a model gained, and how alike two judges are, by arithmetic that stands here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iterdpo.evaluation.oracles import OracleScore
from iterdpo.records import Candidate, FinishReason, Judgment, Pair, Prompt, Scored
from iterdpo.stages.gains import MeasureAgreement, MeasureBaselines, MeasureGains
from iterdpo.stages.oracle_scores import ScoreByOracle, by_candidate, by_prompt
from iterdpo.stages.pair_quality import MeasurePairs
from iterdpo.store.stage import Work
from iterdpo.verifiers.base import Verifier
from tests.narrowing import present


@dataclass(frozen=True)
class Length(Verifier):
    """An oracle that counts letters, of answers to prompts that are in its world."""

    perfect = 5.0

    def knows(self, prompt: Prompt) -> bool:
        return prompt.source == "test"

    def score(self, prompt: Prompt, response: str) -> float:
        return float(len(response))


def stored(value: Any) -> Any:
    return SimpleNamespace(value=value)


def work(place: Path) -> Work:
    return Work(place, place / "kept", "k")


def answer(prompt: str, index: int, text: str, tokens: int = 2) -> Candidate:
    return Candidate(f"{prompt}{index}", prompt, index, text, (1,), (1,) * tokens, (0.0,) * tokens,
                     FinishReason.STOP, "m", 0)  # fmt: skip


ANSWERS = (answer("p", 0, "abc"), answer("p", 1, "a"), answer("q", 0, "ab", tokens=4))


def scores(tmp_path: Path, answers: tuple[Candidate, ...] = ANSWERS) -> tuple[OracleScore, ...]:
    prompts = (Prompt("p", "one", "test"), Prompt("q", "two", "test"), Prompt("r", "3", "other"))
    stage = ScoreByOracle(Length())
    stage.compute(work(tmp_path), stored(prompts), stored(answers))
    return stage.load(tmp_path)


def test_every_answer_has_its_score_unless_its_prompt_is_not_known(tmp_path: Path) -> None:
    found = scores(tmp_path, (*ANSWERS, answer("r", 0, "abc")))
    assert by_candidate(found) == {"p0": 3.0, "p1": 1.0, "q0": 2.0}
    assert by_prompt(found) == {"p": [3.0, 1.0], "q": [2.0]}


def test_the_strongest_baseline_is_the_first_of_the_best(tmp_path: Path) -> None:
    warm, cold = (answer("p", 0, "ab"),), (answer("p", 0, "abcd", tokens=6),)
    scored = [
        (heat, stored(answers), stored(scores(tmp_path, answers)))
        for heat, answers in ((0.9, ()), (0.7, warm), (0.4, cold), (0.2, cold))
    ]
    stage = MeasureBaselines()
    assert stage.compute(work(tmp_path), scored) == {"baselines": 3}
    found = stage.load(tmp_path)
    assert [item.temperature for item in found] == [0.7, 0.4, 0.2]  # nothing was said at 0.9
    assert [item.quality.mean for item in found] == [2.0, 4.0, 4.0]
    assert [item.strongest for item in found] == [False, True, False]
    assert [item.response_tokens for item in found] == [2.0, 6.0, 6.0]
    assert found[1].scores_by_prompt == {"p": (4.0,)}


def test_gains_are_differences_of_the_prompts_means(tmp_path: Path) -> None:
    stage, baselines = MeasureBaselines(), work(tmp_path)
    cold = (answer("p", 0, "abcd"), answer("q", 0, "a"))
    stage.compute(baselines, [(0.4, stored(cold), stored(scores(tmp_path, cold)))])

    def model(**by_prompt: tuple[float, ...]) -> Any:
        return stored(SimpleNamespace(sampled_by_prompt=by_prompt))

    own, parent, initial = model(p=(5.0, 3.0), q=(2.0,)), model(p=(3.0,), q=(2.0,)), model(p=(1.0,))
    MeasureGains().compute(work(tmp_path), own, parent, initial, stored(stage.load(tmp_path)))
    found = MeasureGains().load(tmp_path)
    assert present(found.over_previous).mean == (1.0 + 0.0) / 2
    assert (present(found.over_initial).mean, present(found.over_initial).clusters) == (3.0, 1)
    assert present(found.over_baseline).mean == (0.0 + 1.0) / 2
    MeasureGains().compute(work(tmp_path), own, parent, model(r=(1.0,)), None)
    found = MeasureGains().load(tmp_path)
    assert (found.over_initial, found.over_baseline) == (None, None)


def test_judges_that_rank_alike_agree_and_the_interval_ends_at_one(tmp_path: Path) -> None:
    def judged(*values: float) -> Any:
        said = [
            Judgment(f"{n}", f"{n}", f"p{n // 3}", "j", Scored(value))
            for n, value in enumerate(values)
        ]
        return stored(tuple(said))

    # τ-b is 1 for the same order and 1/3 with one of three pairs the other way around.
    stage = MeasureAgreement()
    stage.compute(work(tmp_path), judged(1, 2, 3, 1, 2, 3), judged(1, 2, 3, 2, 1, 3))
    found = present(stage.load(tmp_path))
    assert found.mean == pytest.approx((1 + 1 / 3) / 2)
    assert (found.low, found.high) == (-1.0, 1.0)  # two prompts prove nothing
    stage.compute(work(tmp_path), judged(1, 1, 1), judged(1, 2, 3))
    assert stage.load(tmp_path) is None


@pytest.mark.parametrize("exact", [True, False])
def test_pairs_are_measured_with_an_oracle_and_without(tmp_path: Path, exact: bool) -> None:
    def pair(chosen: str, rejected: str, margin: float) -> Pair:
        return Pair(f"{chosen}{rejected}", "p", chosen, rejected, "", "", "", margin, 0.0, "m", "j")

    pairs = stored(SimpleNamespace(kept=(pair("p0", "p1", 2.0), pair("p1", "q0", 1.0))))
    gold = stored(scores(tmp_path)) if exact else None
    stage = MeasurePairs()
    assert stage.compute(work(tmp_path), pairs, stored(ANSWERS), gold) == {"pairs": 2}
    found = stage.load(tmp_path)
    assert found.margin_mean == 1.5
    assert found.length_ratio == (2 + 2) / (2 + 4)
    # By the oracle 3 beats 1, and 1 does not beat 2.
    assert (present(found.label_accuracy).mean if exact else found.label_accuracy) == (
        0.5 if exact else None
    )
