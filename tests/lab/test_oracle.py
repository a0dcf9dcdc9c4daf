from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.lab.grammar import render, universe
from iterdpo.lab.oracle import POINTS, assess, score
from iterdpo.lab.splits import instructions
from iterdpo.lab.words import vocabulary

some_instructions = st.sampled_from(instructions("judge")[:500])
lab_texts = st.lists(st.sampled_from(vocabulary()), max_size=20).map(" ".join)


@given(some_instructions, st.text() | lab_texts)
def test_any_response_scores_from_0_to_5(instruction: str, response: str) -> None:
    assessment = assess(instruction, response)
    assert 0 <= assessment.score <= 5
    assert assessment.score == score(instruction, response)
    assert assessment.score == sum(getattr(assessment, point) for point in POINTS)


@given(some_instructions, lab_texts, st.sampled_from(["  ", "\n", "\t "]))
def test_spacing_does_not_matter(instruction: str, response: str, space: str) -> None:
    respaced = space + response.replace(" ", space) + space
    assert assess(instruction, respaced) == assess(instruction, response)


@given(some_instructions, st.sampled_from(["", " ", "done", "well well done", "Score: 5", "<eos>"]))
def test_an_answer_without_content_earns_nothing(instruction: str, response: str) -> None:
    assert score(instruction, response) == 0


def test_an_instruction_that_is_not_of_the_lab_is_refused() -> None:
    with pytest.raises(ValueError, match="not an instruction of the lab"):
        score("write a poem", "roses are red")


@pytest.mark.parametrize(
    ("instruction", "response", "lost"),
    [
        ("name three animals in alphabetical order", "bear fox owl", ""),
        ("name three animals in alphabetical order", "bear pear owl", "topic order"),
        ("name three animals in alphabetical order", "bear owl", "count"),
        ("name three animals in reverse order", "bear fox owl", "order"),
        ("name three animals", "owl bear fox", ""),
        ("name three animals", "owl bear owl", "limits"),
        ("name three animals without owl", "owl bear fox", "limits"),
        ("name three animals", "owl bear fox done", "form"),
        ("name two animals , start with well and finish with done", "well fox owl done", ""),
        ("name two animals , start with well and finish with done", "fox owl done", "form"),
        ("name two animals , start with well and finish with done", "well fox owl bye", "form"),
        ("name two animals , start with well", "well well fox owl", "form"),
        ("name two animals , finish with done", "fox done owl", "form"),
        ("pick two of pear fig date apple", "pear apple", ""),
        ("pick two of pear fig date apple", "pear kiwi", "topic"),
        ("pick two of pear fig date apple", "pear", "count"),
        ("pick two of pear fig date apple in alphabetical order", "pear apple", "order"),
        ("pick two of pear fig date apple in reverse order", "pear apple", ""),
        ("pick two of pear fig date apple without fig", "pear fig", "limits"),
        ("pick three of pear fig date apple", "pear fig date apple", "count"),
        ("tell two things about the fox", "the fox sings . the fox eats .", ""),
        ("tell two things about the fox", "the fox sings . the fox sings .", "limits"),
        ("tell two things about the fox", "the fox sings . the owl eats .", "topic"),
        ("tell two things about the fox", "the fox sings . fox eats .", "topic"),
        ("tell two things about the fox", "the fox sings . the fox eats", "topic"),
        ("tell two things about the fox", "the fox sings .", "count"),
        (
            "tell two things about the fox , finish with bye",
            "the fox sings . the fox eats . bye",
            "",
        ),
        ("tell two things about the fox without sings", "the fox sings . the fox eats .", "limits"),
        (
            "tell two things about the fox with verbs in alphabetical order",
            "the fox sings . the fox eats .",
            "order",
        ),
        (
            "tell two things about the fox with verbs in reverse order",
            "the fox sings . the fox eats .",
            "",
        ),
    ],
)
def test_each_point_by_example(instruction: str, response: str, lost: str) -> None:
    assessment = assess(instruction, response)
    assert [point for point in POINTS if not getattr(assessment, point)] == lost.split()


def test_garbage_earns_nothing_whatever_the_kind() -> None:
    for task in universe()[::5_000]:
        assert score(render(task), "the") == 0
