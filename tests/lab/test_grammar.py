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
        "name one animals",
        "name fourteen animals",
        "name four verbs",
        "name four animals without apple",
        "name four animals with verbs in reverse order",
        "name four animals , ",
        "name four animals , and",
        "name four animals , start with well finish with done",
        "name four animals , start with done",
        "name four animals\n",
        "pick three of pear fig date",
        "pick two of pear fig pear date",
        "pick two of pear fig owl date",
        "pick four of pear fig date apple",
        "pick two of pear fig date apple without kiwi",
        "tell three things about the pear",
        "tell six things about the fox",
        "tell three things about the fox with verbs",
        "tell three things about the fox in reverse order",
        "write a poem",
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
        Task("pick", ("pear", "fig", "date", "apple"), 4)
