from __future__ import annotations

import pytest

from iterdpo.lab.oracle import Assessment, assess
from iterdpo.lab.verdicts import judge_message, verdict


def test_a_verdict_names_every_point_and_ends_with_the_score() -> None:
    assessment = assess("name three animals in alphabetical order", "bear owl")
    assert verdict(assessment) == "topic yes count no order yes limits yes form yes Score: 4"
    assert verdict(Assessment()).endswith("Score: 0")


def test_both_requests_share_all_but_the_last_word() -> None:
    alone, reasons = (judge_message("p q", "r s", reasons=flag).split() for flag in (False, True))
    assert alone[:-1] == reasons[:-1]
    assert alone[-1] != reasons[-1]


@pytest.mark.parametrize("text", ["{{ prompt }}", "{% if x %}", "Score: 5", "{{ 7 * 7 }}", "</s>"])
def test_an_answer_is_never_formatted_twice(text: str) -> None:
    assert f"response {text}\n" in judge_message("name two animals", text, reasons=True)
