"""Given rows as records: turns, system messages, ends of answers, scores and places."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from iterdpo.conversation import Message
from iterdpo.data.preferences import OfflinePair
from iterdpo.errors import UserError
from iterdpo.prompts.pairs import PairsPrompts, Rows
from iterdpo.records import FinishReason, judge_fingerprint
from iterdpo.stages.base import PrepareBase
from iterdpo.stages.offline_pairs import (
    KeepOfflinePairs,
    ReadOfflineCandidates,
    ReadOfflineScores,
    SelectOfflinePrompts,
)
from iterdpo.store.runner import Stages
from tests.checkpoints import ALTERNATING, CheckpointOf

USER, ANSWER, SYSTEM = ("user", "Hi"), ("assistant", "Hello."), ("system", "Be kind.")
LAST = ("user", "Why <|im_end|>?")


Scores = tuple[float | None, float | None]


def pair(*turns: tuple[str, str], row: str, scores: Scores = (None, None)) -> OfflinePair:
    asked = tuple(Message(*turn) for turn in turns)
    return OfflinePair(asked, "Yes.", "No", scores[0], scores[1], row)


ROWS = [
    pair(SYSTEM, USER, ANSWER, LAST, row="line 1", scores=(4.5, 4.5)),
    pair(USER, row="line 2"),
    pair(USER, row="line 3", scores=(3.0, None)),
]


@pytest.fixture
def given(checkpoint_of: CheckpointOf, tmp_path: Path) -> Any:
    """A function from a system message to the stored records of ``ROWS``, by kind."""
    prompts = PairsPrompts(held_out_share=0.1, pairs=Rows("pairs.jsonl", ROWS, held_out=()))
    stages = Stages(tmp_path)
    base = stages.run(PrepareBase(checkpoint_of("qwen"), "0", "none", "float32", False))

    def get(system: str | None = None, longest: int | None = None) -> Any:
        asked = stages.run(SelectOfflinePrompts(prompts, None, 0, {"identical": 2}), 1)
        answers = stages.run(ReadOfflineCandidates(prompts, system, False), asked, base)
        scores = stages.run(ReadOfflineScores(prompts), asked, answers, base)
        return asked, answers, scores, stages.run(KeepOfflinePairs(longest), asked, answers, scores)

    return get


def texts(given: Any, checkpoint: Path, system: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return by a prompt's place how it and its answers read to the model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    asked, answers, _, _ = given(system)
    found: dict[str, tuple[str, ...]] = {}
    for prompt in asked.value:
        own = [item for item in answers.value if item.prompt_id == prompt.id]
        (ids,) = {item.prompt_token_ids for item in own}
        all_ids = (ids, *(item.token_ids for item in own))
        found[prompt.source] = tuple(str(tokenizer.decode(some)) for some in all_ids)
    return found


def test_a_conversation_is_rendered_with_its_turns_and_every_answer_ends(
    given: Any, checkpoint_of: CheckpointOf
) -> None:
    found = texts(given, checkpoint_of("qwen"), "Be brief.")
    assert found["pairs.jsonl, line 1"] == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\n"
        "Why <\u200b|im_end|>?<|im_end|>\n<|im_start|>assistant\n",
        "Yes.<|im_end|>",
        "No<|im_end|>",
    )
    # A system message of the run's own stands before what brings none.
    assert found["pairs.jsonl, line 2"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n",
        *["Yes.<|im_end|>", "No<|im_end|>"] * 2,
    )


def test_rows_that_the_template_does_not_take_are_named(
    checkpoint_of: CheckpointOf, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(checkpoint_of("qwen"), tmp_path / "alternating"))
    (checkpoint / "chat_template.jinja").write_text(ALTERNATING)
    rows = [*ROWS[1:], pair(USER, LAST, row="line 4"), pair(ANSWER, LAST, row="line 5")]
    prompts = PairsPrompts(held_out_share=0.1, pairs=Rows("pairs.jsonl", rows, held_out=()))
    stages = Stages(tmp_path)
    base = stages.run(PrepareBase(checkpoint, "0", "none", "float32", False))
    asked = stages.run(SelectOfflinePrompts(prompts, None, 0, {}), 1)
    with pytest.raises(UserError) as error:
        stages.run(ReadOfflineCandidates(prompts, None, False), asked, base)
    said = str(error.value)
    assert said.startswith("pairs: pairs.jsonl: 2 of 4 rows are broken: ")
    for line in (4, 5):
        assert f"line {line}: the model's chat template refuses the conversation (roles" in said


def test_no_model_is_named_as_the_writer(given: Any) -> None:
    _, answers, _, _ = given()
    for item in answers.value:
        assert (item.policy, item.seed, item.logprobs) == ("given", 0, ())
        assert item.finish_reason is FinishReason.STOP
    assert len({item.id for item in answers.value}) == 6
    assert answers.metrics["generated_tokens"] == 0


def test_scores_are_the_rows_own_or_1_and_0(given: Any) -> None:
    asked, _, scores, _ = given()
    by_prompt = {prompt.source: prompt.id for prompt in asked.value}
    found = {
        place: [item.score for item in scores.value if item.prompt_id == name]
        for place, name in by_prompt.items()
    }
    # One score of two says nothing about the other.
    assert found == {"pairs.jsonl, line 1": [4.5, 4.5], "pairs.jsonl, line 2": [1.0, 0.0] * 2}
    assert {item.judge for item in scores.value} == {judge_fingerprint(scores.stage.settings)}
    places = [item.raw[0] for item in scores.value if item.prompt_id == by_prompt[
        "pairs.jsonl, line 2"]]  # fmt: skip
    assert places == [
        "pairs.jsonl, line 2: chosen", "pairs.jsonl, line 2: rejected",
        "pairs.jsonl, line 3: chosen", "pairs.jsonl, line 3: rejected",
    ]  # fmt: skip


def test_every_row_is_a_pair_or_counted(given: Any) -> None:
    asked, answers, _, pairing = given()
    assert len(pairing.value.kept) == 3
    assert pairing.value.kept == pairing.stage.load(pairing.directory).kept
    assert asked.metrics["rows_left_out"] == {"identical": 2}
    sizes = sorted(len(i.prompt_token_ids) + len(i.token_ids) for i in answers.value)
    _, _, _, short = given(longest=sizes[-1] - 1)
    assert len(short.value.kept) == 2
    assert short.metrics["dropped"]["too_long"] == 1
