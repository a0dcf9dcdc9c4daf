"""A policy writes its prompts: what it is shown, what is kept, and what a kill costs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iterdpo.engines.base import Completion, PromptTooLong, Sampling
from iterdpo.engines.scripted import TRUNCATED, ScriptedEngine
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.prompts.base import assert_held_out
from iterdpo.prompts.self_instruct import SelfInstructPrompts, Writing
from iterdpo.records import Policy, Prompt
from iterdpo.runtime.signals import StopRequest
from iterdpo.stages.base import PrepareBase
from iterdpo.stages.self_instruct import (
    RAW_GENERATIONS_FILE,
    ROUND_REQUESTS,
    GenerationEnd,
    RawGeneration,
    SelfInstruct,
    draw,
    round_size,
)
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stored
from iterdpo.store.tables import read_records
from tests.narrowing import metrics_of

WRITING = Writing(
    shots=4, written_shots=1, asked=3, temperature=0.6, top_p=0.9, max_tokens=99, max_tries=5.0,
    min_words=3, max_words=20, keywords=("graph",), ascii_start=True, max_similarity=0.7,
)  # fmt: skip


def task(number: int) -> str:
    """An instruction whose words no other one has."""
    return " ".join(f"word{number}x{place}" for place in range(5))


SEEDS = [f"seed {task(1_000 + number)}" for number in range(60)]
Answer = Callable[[Request, Policy, int], str]


def numbers_shown(request: Request) -> list[str]:
    """Return the list that a request shows."""
    return re.findall(r"^\d+\. (.*)$", request.messages[0].content, re.MULTILINE)


class Writer:
    """Writes the next tasks that nobody wrote, three a request, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def __call__(self, request: Request, policy: Policy, sample: int) -> str:
        first = 3 * len(self.asked)
        self.asked.append(request)
        return "\n".join(f"{n}. {task(n)}" for n in range(first, first + 3))


class Seen(ScriptedEngine):
    """Keeps how it was told to sample."""

    samplings: tuple[Sampling, ...] = ()

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        self.samplings += (sampling,)
        return super().generate(requests, policy, sampling)


def seen(stage: SelfInstruct) -> Seen:
    assert isinstance(stage.engine, Seen)
    return stage.engine


@pytest.fixture
def seeds(tmp_path: Path) -> SelfInstructPrompts:
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in SEEDS))
    return SelfInstructPrompts(
        path=str(path), field="prompt", held_out_share=0.4, dataset=None, self_instruct=WRITING
    )


@pytest.fixture
def step(seeds: SelfInstructPrompts) -> Callable[..., SelfInstruct]:
    def get(
        answer: Answer, count: int = 12, seed: int = 0, engine: Seen | None = None, **writing: Any
    ) -> SelfInstruct:
        source = replace(seeds, self_instruct=replace(WRITING, **writing))
        return SelfInstruct(source, count, seed, engine or Seen(answer=answer))

    return get


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(tmp_path / "store")


@pytest.fixture
def m0(stages: Stages, tmp_path: Path) -> Stored[Policy]:
    return stages.run(PrepareBase(tmp_path, "0" * 64, "none", "float32", False))


def texts(stored: Stored[tuple[Prompt, ...]]) -> list[str]:
    return [prompt.text for prompt in stored.value]


def test_what_is_written_is_kept_in_order_and_counted(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    made = stages.run(step(Writer()), 1, m0)
    assert texts(made) == [task(n) for n in range(12)]
    assert made.value[4].source == "self-instruct, iteration 1, round 0, request 1"
    metrics = metrics_of(made)
    assert (metrics["prompts"], metrics["requests"], metrics["rounds"]) == (12, 4, 1)
    assert (metrics["instructions"], metrics["surplus"]) == (12, 0)
    assert sum(metrics["dropped"].values()) == 0


def test_it_samples_as_it_is_told_with_seeds_of_its_own(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    first = step(Writer(), count=2)
    stages.run(first, 1, m0)
    stages.run(first, 2, m0)
    one, two = seen(first).samplings
    assert replace(one, seed=0) == Sampling(1, 0.6, 0.9, 0, 99, 0)
    assert one.seed != two.seed


def test_no_held_out_text_is_shown_and_every_shot_is_short_enough(
    step: Callable[..., SelfInstruct],
    stages: Stages,
    m0: Stored[Policy],
    seeds: SelfInstructPrompts,
) -> None:
    writer = Writer()
    stages.run(step(writer, count=30), 1, m0)
    shown = {text for request in writer.asked for text in numbers_shown(request)}
    held_out = {*seeds.texts("evaluation"), *seeds.texts("judge_reference")}
    assert len(held_out) > 10
    assert not shown & held_out
    assert len(shown) > 10
    assert {len(set(numbers_shown(request))) for request in writer.asked} == {4}
    with pytest.raises(UserError, match=r"shots=4: seeds\.jsonl has 0 examples of at most 5 words"):
        stages.run(step(Writer(), max_words=5), 1, m0)


def test_nothing_that_resembles_a_held_out_text_enters_the_loop(
    step: Callable[..., SelfInstruct],
    stages: Stages,
    m0: Stored[Policy],
    seeds: SelfInstructPrompts,
) -> None:
    secret = seeds.texts("evaluation")[0]
    near = f"{secret} please"

    def answer(request: Request, policy: Policy, sample: int) -> str:
        return f"1. {secret.upper()}\n2. {near}\n3. {fresh(request, policy, sample)}"

    def fresh(request: Request, policy: Policy, sample: int) -> str:
        count.append(1)
        return task(len(count))

    count: list[int] = []
    made = stages.run(step(answer, count=3, asked=1), 1, m0)
    dropped = metrics_of(made)["dropped"]
    assert (dropped["duplicate"], dropped["similar"]) == (3, 3)
    assert_held_out(made.value, [*seeds.evaluation(99, 0), *seeds.judge_reference(99, 0)])


def test_its_own_instructions_are_shown_in_later_rounds_and_iterations(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    writer = Writer()
    first = step(writer)
    one = stages.run(first, 1, m0)
    assert not [text for r in writer.asked for text in numbers_shown(r) if text.startswith("word")]
    began = len(writer.asked)
    two = stages.run(first, 2, m0, one)
    for request in writer.asked[began:]:
        own = [text for text in numbers_shown(request) if text.startswith("word")]
        assert len(own) == 1
        assert own[0] in texts(one)
    assert not set(texts(one)) & set(texts(two))


def test_its_own_instructions_are_shown_from_the_second_round_on(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    def one_of_three(request: Request, policy: Policy, sample: int) -> str:
        asked.append(request)
        return f"1. {task(len(asked))}"

    asked: list[Request] = []
    made = stages.run(step(one_of_three), 1, m0)
    assert metrics_of(made)["rounds"] > 1
    own = [[text for text in numbers_shown(r) if text.startswith("word")] for r in asked]
    assert own[:4] == [[]] * 4  # the first round: 12 wanted, 3 asked for in each request
    assert [len(texts) for texts in own[4:]] == [1] * (len(asked) - 4)
    assert own[4][0] in [task(n) for n in range(1, 5)]


def test_what_an_earlier_iteration_has_is_not_written_again(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    one = stages.run(step(Writer(), count=6), 1, m0)
    two = stages.run(step(Writer(), count=6), 2, m0, one)  # writes the same tasks from the start
    assert texts(two) == [task(n) for n in range(6, 12)]
    assert metrics_of(two)["dropped"]["duplicate"] == 6


def test_every_instruction_is_kept_or_counted(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    def answer(request: Request, policy: Policy, sample: int) -> str:
        count.append(1)
        bad = ["Too short", "Show it as a graph now", "(as above, but longer)", "Über alles in all"]
        good = [task(10 * len(count) + n) for n in range(2)]
        listed = "\n".join(f"{n}. {text}" for n, text in enumerate([*bad, *good, "cut of"], 1))
        return "No list." if len(count) == 2 else listed + TRUNCATED * (len(count) == 1)

    count: list[int] = []
    metrics = metrics_of(stages.run(step(answer, count=5, asked=2), 1, m0))
    # 3 requests are the fewest for 5; the second brings none, so one more is made for what is left.
    assert metrics["requests_without_list"] == 1
    assert metrics["dropped"]["cut_off"] == 1
    assert metrics["dropped"]["too_short"] == metrics["requests"] - 1 + metrics["requests"] - 2
    for reason in ("keyword", "punctuation", "non_ascii"):
        assert metrics["dropped"][reason] == metrics["requests"] - 1
    kept = metrics["instructions"] - sum(metrics["dropped"].values())
    assert kept == metrics["prompts"] + metrics["surplus"] == 2 * (metrics["requests"] - 1)


def test_the_drafts_are_kept_as_they_were_written(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    made = stages.run(step(Writer(), count=3), 1, m0)
    (generation,) = read_records(made.directory / RAW_GENERATIONS_FILE, RawGeneration)
    assert generation.text == "\n".join(f"{n}. {task(n)}" for n in range(3))
    assert (generation.round, generation.request, generation.end) == (0, 0, GenerationEnd.STOP)


def test_too_few_stop_the_run_with_the_reasons_and_more_tries_go_on(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    def answer(request: Request, policy: Policy, sample: int) -> str:
        count.append(1)
        return f"1. {task(len(count) // 4)}\n2. short"

    count: list[int] = []
    few = step(answer, count=6, asked=1, max_tries=2.0)
    with pytest.raises(UserError) as error:
        stages.run(few, 1, m0)
    # Rounds of 6 requests, with 2 of 6 tasks, and of 4 / (2 / 6) = 12, which begins below 2 x 6.
    # 18 requests: tasks 0 and 4 (three times each), 1, 2 and 3 (four times each).
    assert str(error.value) == (
        "iteration 1: 5 of 6 instructions were written in 18 requests (dropped: 18 too_short, 13 "
        "duplicate); add examples, raise prompts.self_instruct.temperature or max_similarity, "
        "lower prompts.per_iteration, or raise prompts.self_instruct.max_tries=2 to resume from "
        "here"
    )
    assert len(count) == 18
    more = step(answer, count=6, asked=1, max_tries=9.0)
    assert texts(stages.run(more, 1, m0)) == [task(n) for n in range(6)]
    assert len(count) < 18 + 18  # what was written before is read
    assert more.settings == few.settings


def test_how_long_it_tries_changes_nothing_of_what_is_written(
    step: Callable[..., SelfInstruct], tmp_path: Path, m0: Stored[Policy]
) -> None:
    def one_of_three(request: Request, policy: Policy, sample: int) -> str:
        return slow(request, policy, sample).splitlines()[0]

    at_once = Stages(tmp_path / "at_once").run(step(one_of_three, count=40, max_tries=9.0), 1, m0)
    assert metrics_of(at_once)["rounds"] > 1
    bit_by_bit = Stages(tmp_path / "bit_by_bit")
    gave_up = 0
    for tries in (1.0, 1.2, 1.5, 1.8, 9.0, 1.0):
        try:
            made = bit_by_bit.run(step(one_of_three, count=40, max_tries=tries), 1, m0)
        except UserError:
            gave_up += 1
    assert gave_up >= 1
    assert texts(made) == texts(at_once)
    generations = [
        read_records(stored.directory / RAW_GENERATIONS_FILE, RawGeneration)
        for stored in (at_once, made)
    ]
    assert generations[0] == generations[1]


def test_fewer_tries_leave_what_was_written_for_more(
    step: Callable[..., SelfInstruct],
    stages: Stages,
    m0: Stored[Policy],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(UserError):
        stages.run(step(lambda *_: "1. short", count=2, asked=1, max_tries=40.0), 1, m0)
    few = step(lambda *_: "1. short", count=2, asked=1, max_tries=1.0)
    with pytest.raises(UserError, match=r"0 of 2 instructions were written in 2 requests"):
        stages.run(few, 1, m0)
    assert "set aside" not in caplog.text


class StopAfter(StopRequest):
    """Stops a stage at its n-th check."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def slow(request: Request, policy: Policy, sample: int) -> str:
    """Two new tasks of three asked for, by what is shown alone: needs several rounds."""
    seed = sum(ord(letter) * place for place, letter in enumerate(request.messages[0].content))
    return f"1. {task(seed % 10_007)}\n2. {task(seed % 20_011)}\n3. graph of this and that"


def test_a_stopped_stage_goes_on_with_the_same_result(
    step: Callable[..., SelfInstruct], tmp_path: Path, m0: Stored[Policy]
) -> None:
    whole = Stages(tmp_path / "whole").run(step(slow, count=20), 1, m0)
    assert metrics_of(whole)["rounds"] > 1
    with pytest.raises(KeyboardInterrupt):
        # One check is the store's own, before the stage.
        Stages(tmp_path / "store", stop=StopAfter(1)).run(step(slow, count=20), 1, m0)
    again = step(slow, count=20)
    gone_on = Stages(tmp_path / "store").run(again, 1, m0)
    assert texts(gone_on) == texts(whole)
    requests = sum(count for _, _, count in seen(again).calls)
    assert requests < metrics_of(whole)["requests"]
    generations = [
        read_records(made.directory / RAW_GENERATIONS_FILE, RawGeneration)
        for made in (whole, gone_on)
    ]
    assert generations[0] == generations[1]


def test_requests_that_do_not_fit_the_context_are_counted(
    step: Callable[..., SelfInstruct], stages: Stages, m0: Stored[Policy]
) -> None:
    few = step(Writer(), count=3, max_tries=2.0)
    seen(few).context = 10
    with pytest.raises(UserError, match=r"dropped: 5 requests too long\)"):
        stages.run(few, 1, m0)


def test_what_changes_instructions_is_in_the_settings(step: Callable[..., SelfInstruct]) -> None:
    usual = step(Writer()).settings
    changes: list[dict[str, object]] = [
        {"count": 13}, {"seed": 1}, {"shots": 5}, {"written_shots": 0}, {"asked": 4},
        {"temperature": 0.7}, {"top_p": 1.0}, {"max_tokens": 100},
        {"max_similarity": 0.8}, {"engine": Seen(answer=slow, context=9)},
    ]  # fmt: skip
    for change in changes:
        assert step(Writer(), **change).settings != usual, change
    assert step(Writer(), max_tries=1.0).settings == usual


@pytest.mark.parametrize(
    ("missing", "asked", "kept", "requests", "size"),
    [
        (12, 3, 0, 0, 4),  # all of the first are expected to be kept
        (13, 3, 0, 0, 5),
        (1, 8, 0, 0, 1),
        (6, 3, 6, 4, 4),  # half of 12 were kept: 6 / 1.5
        (6, 3, 0, 4, 8),  # none were: a quarter is supposed
        (6, 3, 30, 4, 1),  # more than asked for
        (10_000, 8, 0, 0, ROUND_REQUESTS),
    ],
)
def test_the_size_of_a_round(missing: int, asked: int, kept: int, requests: int, size: int) -> None:
    assert round_size(missing, asked, kept, requests) == size


def test_draws_are_different_members_that_the_names_decide() -> None:
    drawn = draw(SEEDS, 8, 0, "a", 1)
    assert len(set(drawn)) == 8
    assert drawn == draw(SEEDS, 8, 0, "a", 1)
    assert drawn != draw(SEEDS, 8, 0, "a", 2)
    assert sorted(draw(SEEDS, 60, 0, "a")) == sorted(SEEDS)
    counts = [draw("abc", 1, 0, n)[0] for n in range(3_000)]
    assert all(900 < counts.count(letter) < 1_100 for letter in "abc")
