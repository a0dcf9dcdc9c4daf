from __future__ import annotations

import contextlib
import random

import pytest

from iterdpo.lab.grammar import KINDS, Task, parse, render, universe


def test_the_universe_is_large_and_its_instructions_are_distinct() -> None:
    texts = [render(task) for task in universe()]
    assert len(texts) == len(set(texts)) == 50_000


def test_every_instruction_reads_back_as_its_task() -> None:
    for task in universe():
        assert parse(render(task)) == task


def test_every_kind_is_there() -> None:
    shares = {kind: sum(task.kind == kind for task in universe()) for kind in KINDS}
    assert min(shares.values()) >= 5_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name four animals ",
        "Name four animals",
        "name fourteen animals",
        "name four verbs",
        "name four animals without apple",
        "name four animals , ",
        "name four animals , and",
        "name four animals , start with well finish with done",
        "name four animals , start with done",
        "sort pear fig apple",
        "sort pear fig pear in alphabetical order",
        "sort pear fig owl in alphabetical order",
        "sort pear fig in alphabetical order",
        "count from nine to three",
        "count from one to twelve",
        "count from three to nine without ten",
        "say fox three times",
        "say fox three times and then fox two times",
        "say fox nine times and then owl two times",
        "write three sentences about the pear",
        "write one sentences about the fox",
        "write three sentences about the fox with verbs",
        "name four animals\n",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lab"):
        parse(text)


def test_a_broken_instruction_is_never_misread() -> None:
    """Whatever parses renders to exactly what was parsed."""
    rng = random.Random(0)
    for task in rng.sample(universe(), 2_000):
        words = render(task).split()
        del words[rng.randrange(len(words))]
        broken = " ".join(words)
        with contextlib.suppress(ValueError):
            assert render(parse(broken)) == broken


def test_a_task_that_nobody_can_ask_for_is_refused() -> None:
    with pytest.raises(ValueError, match="not a task"):
        Task("say", ("fox", "owl"), (2, 2), "reverse")
