"""Ranked answers: which are learned, which are judged, and what of it is in the keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.assemble.judges import make_judge
from iterdpo.assemble.ranked import deal
from iterdpo.assemble.sft import make_sft
from iterdpo.cli import plan
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.conversation import Message
from iterdpo.data.instructions import RankedAnswers
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import ConfigError, UserError
from iterdpo.prompts.base import folded
from iterdpo.prompts.lab import LabPrompts

QUESTIONS = [f"What is number {number}?" for number in range(10)]
CHECKPOINT = str(conf_directory().parent / "iterdpo" / "lab" / "seed")


def ranked(question: str, *answers: str) -> RankedAnswers:
    return RankedAnswers(question, answers or ("good", "bad"), question)


@given(
    st.lists(st.tuples(st.text(max_size=5), st.integers(1, 3)), max_size=30),
    st.integers(1, 10),
    st.integers(0, 3),
)
def test_every_ranked_question_is_in_one_set(items: Any, instructions: Any, seed: Any) -> None:
    asked = [ranked(text, *"abc"[:count]) for text, count in items]
    usable = {folded(item.prompt) for item in asked if len(item.answers) > 1}
    if len(usable) <= instructions:
        with pytest.raises(UserError, match=rf"has {len(usable)} questions"):
            deal(asked, instructions=instructions, held_out=(), seed=seed)
        return
    dealt = deal(asked, instructions=instructions, held_out=(), seed=seed)
    answered = [folded(item.prompt) for item in dealt.answered]
    judged = [folded(item.prompt) for item in dealt.judged]
    assert len(answered) == instructions
    assert sorted(answered + judged) == sorted(usable)
    assert all(item in asked for item in (*dealt.answered, *dealt.judged))


def test_what_is_held_out_is_in_neither_set_however_it_is_written() -> None:
    asked = [ranked(text) for text in QUESTIONS] + [ranked(f" {QUESTIONS[0].upper()}")]
    dealt = deal(asked, instructions=4, held_out={folded(QUESTIONS[0])}, seed=0)
    found = {item.prompt for item in (*dealt.answered, *dealt.judged)}
    assert found == set(QUESTIONS[1:])


def test_the_order_of_the_rows_decides_nothing_and_the_seed_does() -> None:
    asked = [ranked(text) for text in QUESTIONS]
    one, other = (deal(some, instructions=4, held_out=(), seed=0) for some in (asked, asked[::-1]))
    assert one == other
    assert one != deal(asked, instructions=4, held_out=(), seed=1)


ConfigOf = Callable[..., Config]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The same ranked answers in both forms, in one file: a reader skips what it does not know."""
    rows: list[dict[str, object]] = []
    for number, question in enumerate(QUESTIONS):
        shared = {"lang": "en" if number else "de", "deleted": False}
        responses = ["good", "fair", "bad"]
        own: dict[str, object] = {"prompt": question, "responses": responses}
        root = {"message_id": f"{number}", "parent_id": None, "role": "prompter", "rank": None}
        rows.append(own | shared | root | {"text": question})
        for rank, text in enumerate(responses):
            reply = {"message_id": f"{number}-{rank}", "parent_id": f"{number}", "rank": rank}
            rows.append(own | shared | reply | {"role": "assistant", "text": text})
    place = tmp_path / "ranked.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture
def config_of(file: Path, tmp_path: Path) -> ConfigOf:
    def get(*overrides: str) -> Config:
        usual = (
            "sft=oasst1", "judge=additive", f"sft.ranked.path={file}",
            "sft.ranked.instructions=4", f"store.root={tmp_path / 'store'}", "engine.device=cpu",
            "iterations=1",
        )  # fmt: skip
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            return typed(compose("config", [*usual, *overrides]))

    return get


def test_both_kinds_of_examples_come_of_one_source(
    config_of: ConfigOf, file: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"prompt": "And?", "response": "So."}) + "\n")
    engine = ScriptedEngine(lambda *_: "")
    config = config_of(f"sft.path=[{more}]", "judge.system=Be fair.")
    step = make_sft(config, engine, CHECKPOINT, LabPrompts(), make_judge(config, engine))
    assert step is not None
    assert step.exemplify is not None
    asked = [item.prompt[-1].content for item in step.demonstrations]
    assert (asked[0], [item.response for item in step.demonstrations]) == (
        "And?", ["So.", *["good"] * 4],
    )  # fmt: skip
    judged = [item.prompt for item in step.exemplify.ranked]
    assert set(asked[1:]) | set(judged) == set(QUESTIONS[1:])  # the first is German
    assert {item.answers for item in step.exemplify.ranked} == {("good", "fair", "bad")}
    written = step.exemplify
    assert (written.sampling.n, written.sampling.temperature, written.max_ratio) == (3, 0.7, 1.0)
    assert (written.low, written.high, written.system) == (0, 5, "Be fair.")
    assert (written.rubric.name, step.sft.ranked) == ("additive", config.sft.ranked)


def test_examples_that_ask_what_is_held_out_are_left_out(
    config_of: ConfigOf, tmp_path: Path
) -> None:
    prompts = LabPrompts()
    own = prompts.held_out[7]
    given = tmp_path / "given.jsonl"

    def write(*questions: str) -> None:
        turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "a"}]
                 for text in questions]  # fmt: skip
        given.write_text("".join(json.dumps({"messages": some}) + "\n" for some in turns))

    config = config_of("sft.ranked=null", f"sft.path=[{given}]")
    engine = ScriptedEngine(lambda *_: "")
    write("Say a.", f"{own.upper()} ")
    step = make_sft(config, engine, CHECKPOINT, prompts, make_judge(config, engine))
    assert step is not None
    assert [item.prompt for item in step.demonstrations] == [(Message("user", "Say a."),)]
    write(own)
    with pytest.raises(UserError, match=r"sft\.path=.*: all of its 1 examples ask what prompts"):
        make_sft(config, engine, CHECKPOINT, prompts, make_judge(config, engine))


def test_too_few_questions_name_the_file(config_of: ConfigOf, file: Path) -> None:
    config = config_of("sft.ranked.instructions=9")
    engine = ScriptedEngine(lambda *_: "")
    said = rf"^sft\.ranked\.instructions=9: sft\.ranked\.path={file} has 9 questions"
    with pytest.raises(UserError, match=said):
        make_sft(config, engine, CHECKPOINT, LabPrompts(), make_judge(config, engine))


def keys(config: Config) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for _, steps in plan.plan(config):
        for step in steps:
            found.setdefault(step.stage, set()).add(step.key)
    return found


# What counts by what is read from there, and what changes the examples of either kind.
ANOTHER = {
    "form=responses": "both", "language=null": "both", "instructions=5": "both",
    "verdicts=2": "judged", "temperature=0.6": "judged", "top_p=0.8": "judged",
    "max_tokens=99": "judged", "max_ratio=2.0": "judged", "path": "none", "revision=null": "none",
    "split=train": "none", "subset=other": "none",
}  # fmt: skip


@pytest.mark.parametrize(("setting", "changes"), ANOTHER.items())
def test_a_setting_changes_the_keys_of_what_it_changes(
    setting: str, changes: str, config_of: ConfigOf, file: Path
) -> None:
    usual = keys(config_of())
    assert {stage: len(found) for stage, found in usual.items()}["sft"] == 2
    if setting == "path":
        copy = file.rename(file.with_name("copy.jsonl"))
        changed = keys(config_of(f"sft.ranked.path={copy}"))
    else:
        changed = keys(config_of(f"sft.ranked.{setting}"))
    shared = changed["sft"] & usual["sft"]
    assert len(shared) == {"both": 0, "judged": 1, "none": 2}[changes]
    assert (changed["judging_examples"] == usual["judging_examples"]) == (changes == "none")
    assert (changed["candidates"] == usual["candidates"]) == (changes == "none")


def test_every_setting_is_tried() -> None:
    from dataclasses import fields

    from iterdpo.config.sft import RankedConfig

    tried = {setting.partition("=")[0] for setting in ANOTHER}
    assert tried == {field.name for field in fields(RankedConfig)}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("judge=pairrm",), "sft.ranked: its examples teach the policy to judge"),
        (("sft.ranked=null",), "sft.path=[]: sft=qlora needs files of examples"),
        (("sft.ranked.max_ratio=0.5",), "sft.ranked.max_ratio=0.5: "),
        (("sft.ranked.instructions=0",), "sft.ranked.instructions=0: "),
    ],
)
def test_what_cannot_be(config_of: ConfigOf, overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(*overrides)
    assert any(problem.startswith(said) for problem in caught.value.problems)
