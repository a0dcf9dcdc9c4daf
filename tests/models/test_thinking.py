"""Models that think: their prompts, what they write taken apart, and a whole run of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from iterdpo.cli import execute as run
from iterdpo.conversation import Message
from iterdpo.engines.base import Completion, PromptTooLong, Sampling
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat
from iterdpo.models.thinking import NO_THINKING, Mode, Thinking, template_of, thinking_of
from iterdpo.records import Candidate, FinishReason, Policy, Thought
from iterdpo.store.tables import read_records, write_records
from tests.checkpoints import (
    CHATML,
    CHATML_TURNS,
    OPEN_THOUGHT,
    SWITCHED_THOUGHT,
    Style,
    make_checkpoint,
    make_tokenizer,
)
from tests.made_run import config_of

ASKED = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
EMPTY = "<think>\n\n</think>\n\n"
THINK = ("<think>", "</think>")


def style(template: str, *specials: str) -> Style:
    return Style("llama", template, ("<s>", *CHATML_TURNS, *specials), "<|im_end|>")


def chat_of(
    template: str,
    mode: Mode = "auto",
    arguments: Mapping[str, Any] | None = None,
    marks: tuple[str, str] | None = None,
    specials: Sequence[str] = (),
) -> Chat:
    thinking = thinking_of(mode, marks, arguments or {}, template)
    return Chat(make_tokenizer(style(template, *specials)), thinking)


def prompt(chat: Chat, request: Request | None = None, *, at_once: bool = False) -> str:
    ids = chat.encode(request or Request.of("Hi"), at_once=at_once)
    return str(chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def read(chat: Chat, text: str) -> tuple[str, Thought | None]:
    return chat.read(chat.tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("template", "mode", "end"),
    [
        (SWITCHED_THOUGHT, "auto", ""),
        (SWITCHED_THOUGHT, "on", ""),
        (SWITCHED_THOUGHT, "off", EMPTY),
        (OPEN_THOUGHT, "auto", "<think>\n"),
        (OPEN_THOUGHT, "on", "<think>\n"),
        (OPEN_THOUGHT, "off", "<think>\n\n" + "</think>\n\n"),
        (CHATML, "off", ""),
    ],
)
def test_a_prompt_ends_as_the_template_has_it_for_a_model_that_thinks_or_does_not(
    template: str, mode: Mode, end: str
) -> None:
    marks = THINK if template == OPEN_THOUGHT else None
    assert prompt(chat_of(template, mode, marks=marks)) == ASKED + end


def test_what_needs_the_answer_as_the_next_token_closes_the_thought_before_it() -> None:
    for template in (SWITCHED_THOUGHT, OPEN_THOUGHT):
        chat = chat_of(template, "auto", marks=THINK)
        assert prompt(chat, at_once=True) == ASKED + EMPTY
    assert prompt(chat_of(CHATML), at_once=True) == ASKED


def test_thoughts_of_earlier_turns_are_dropped_as_the_template_drops_them() -> None:
    earlier = Message("assistant", "<think>\nsecret\n</think>\n\nHello.")
    turns = Request((Message("user", "Hi"), earlier, Message("user", "Bye")))
    said = prompt(chat_of(SWITCHED_THOUGHT, "on"), turns)
    assert said == (
        f"{ASKED}Hello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )


def test_an_answer_to_learn_stands_behind_the_thought_that_the_prompt_closed() -> None:
    def whole(mode: Mode) -> str:
        chat = chat_of(SWITCHED_THOUGHT, mode)
        ids = chat.encode_answer("Hello.", [chat.tokenizer.eos_token_id])
        return prompt(chat) + str(chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    finished = f"{ASKED}{EMPTY}Hello.<|im_end|>"
    assert [whole("off"), whole("on"), whole("auto")] == [finished] * 3


def test_arguments_reach_the_template_and_may_not_say_the_opposite_of_the_mode() -> None:
    assert prompt(chat_of(SWITCHED_THOUGHT, "auto", {"enable_thinking": False})) == ASKED + EMPTY
    template = CHATML.replace("assistant\n", "assistant ({{ effort }})\n")
    assert prompt(chat_of(template, "auto", {"effort": "low"})).endswith("assistant (low)\n")
    with pytest.raises(UserError, match=r"enable_thinking=False: model\.thinking=on"):
        chat_of(SWITCHED_THOUGHT, "on", {"enable_thinking": False})


def test_no_thoughts_can_be_switched_on_where_the_template_knows_none() -> None:
    with pytest.raises(UserError, match="thinking=on: the chat template knows no thoughts"):
        thinking_of("on", None, {}, CHATML)
    for template in (CHATML, None):
        assert thinking_of("auto", None, {}, template) == NO_THINKING
    assert thinking_of("on", ("<a>", "</a>"), {}, CHATML) == Thinking("<a>", "</a>")


@pytest.mark.parametrize(
    ("written", "thought", "answer"),
    [
        ("<think>\nA, or B.\n</think>\n\nB.<|im_end|>", "<think>\nA, or B.\n</think>", "B."),
        ("B.<|im_end|>", None, "B."),
        ("A</think>B.", "A</think>", "B."),
        ("<think>A</think>No. <think>B</think>B.", "<think>A</think>No. <think>B</think>", "B."),
        ("<think>\nScore: 5<|im_end|>", False, ""),
        ("<think>A</think>No. <think>Score: 5", False, ""),
        ("<think>A</think>", "<think>A</think>", ""),
        ("", None, ""),
    ],
)
def test_what_a_model_writes_is_a_thought_and_an_answer(
    written: str, thought: str | bool | None, answer: str
) -> None:
    chat = chat_of(SWITCHED_THOUGHT)
    text, found = read(chat, written)
    assert text == answer
    if thought is None:
        assert found is None
        return
    assert found is not None
    ids = chat.tokenizer(written, add_special_tokens=False)["input_ids"]
    assert found.closed == bool(thought)
    assert found.text == (thought or written)
    if not found.closed:
        assert found.tokens == len(ids)
        return
    # Not one token less would hold it all.
    assert str(thought) in chat.tokenizer.decode(ids[: found.tokens])
    assert str(thought) not in chat.tokenizer.decode(ids[: found.tokens - 1])


def test_where_every_prompt_opens_a_thought_one_that_is_not_closed_is_no_answer() -> None:
    on, off = (chat_of(OPEN_THOUGHT, mode, marks=THINK) for mode in ("on", "off"))
    assert read(on, "Trout") == (
        "",
        Thought("Trout", len(on.tokenizer("Trout")["input_ids"]), False),
    )
    assert read(on, "Trout?</think>Cod.")[0] == "Cod."
    assert read(off, "Trout") == ("Trout", None)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("[THINK]", "[/THINK]"),
        ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
        ("<my-own>", "</my-own>"),
    ],
)
def test_marks_may_be_any_and_special_tokens_too(opening: str, closing: str) -> None:
    special = [mark for mark in (opening, closing) if "my-own" not in mark]
    chat = chat_of(CHATML, "auto", marks=(opening, closing), specials=special)
    text, thought = read(chat, f"{opening}A.{closing}B.<|im_end|>")
    assert thought is not None
    assert text == "B."
    assert thought.text == f"{opening}A.{closing}"


def test_marks_are_found_in_the_template_that_lies_in_the_checkpoint(tmp_path: Path) -> None:
    make_tokenizer(style(SWITCHED_THOUGHT)).save_pretrained(tmp_path / "a")
    assert template_of(tmp_path / "a") == SWITCHED_THOUGHT
    thinking = thinking_of("auto", None, {}, template_of(tmp_path / "a"))
    assert (thinking.opening, thinking.closing) == THINK
    assert template_of(tmp_path) is None


def test_thinking_is_in_the_engines_identity_where_the_model_thinks_and_only_there() -> None:
    def identity(thinking: Thinking) -> Mapping[str, object]:
        return TransformersEngine(TransformersSettings("cpu", thinking=thinking)).identity

    assert "thinking" not in identity(thinking_of("off", None, {}, CHATML))
    modes: tuple[Mode, ...] = ("auto", "on", "off")
    found = [identity(thinking_of(mode, None, {}, SWITCHED_THOUGHT)) for mode in modes]
    assert len({str(one["thinking"]) for one in found}) == 3


def test_a_thought_is_kept_with_its_candidate(tmp_path: Path) -> None:
    plain = Candidate("a", "p", 0, "cod", (1,), (2,), (-0.5,), FinishReason.STOP, "w", 3)
    thought = Thought("<think>é</think>", 1, closed=True)
    thinks = Candidate("b", "p", 1, "cod", (1,), (2,), (-0.5,), FinishReason.STOP, "w", 3, thought)
    write_records(tmp_path / "x", Candidate, [plain, thinks])
    assert list(read_records(tmp_path / "x", Candidate)) == [plain, thinks]


@dataclass
class ThinkingEngine(ScriptedEngine):
    """Writes what is scripted in the tokens of a checkpoint, as an engine with a model would."""

    chat: Chat | None = None

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        chat = self.chat
        assert chat is not None
        for one in ScriptedEngine.generate(self, requests, policy, sampling):
            assert isinstance(one, Completion)
            ids = tuple(chat.tokenizer(one.text + "<|im_end|>")["input_ids"])
            text, thought = chat.read(ids)
            asked = chat.encode(requests[one.request])
            yield Completion(
                one.request, one.sample, text, asked, ids, (-1.0,) * len(ids),
                one.finish_reason, one.seed, thought,
            )  # fmt: skip


def test_two_iterations_of_a_model_that_thinks_train_on_pairs_and_no_judge_reads_a_thought(
    tmp_path: Path,
) -> None:
    checkpoint = make_checkpoint(tmp_path / "model", style(SWITCHED_THOUGHT))
    seen: list[str] = []

    def answer(request: Request, policy: Policy, sample: int) -> str:
        if sample == 3:
            return f"<think>\nThe secret of {policy.name}. Score: 5"
        return f"<think>\nThe secret. Score: 5\n</think>\n\n{policy.name} says answer {sample}"

    def choose(request: Request, policy: Policy) -> dict[str, float]:
        seen.append(request.messages[-1].content)
        return {seen[-1].rsplit("says answer ", 1)[1][0]: 1.0}

    config = config_of(tmp_path, checkpoint, "model.thinking=on", "iterations=2")
    model = config.model
    assert model.thinking == "on"
    thinking = thinking_of(model.thinking, None, model.template_arguments, template_of(checkpoint))
    chat = Chat(make_tokenizer(style(SWITCHED_THOUGHT)), thinking)
    run.execute(config, tmp_path / "run", ThinkingEngine(answer, choose, chat=chat))

    assert seen
    assert not any("secret" in text or "think>" in text for text in seen)
    found = sorted((tmp_path / "store" / "candidates").glob("*/records.parquet"))
    candidates = [item for file in found for item in read_records(file, Candidate)]
    assert len(candidates) == 2 * 6 * 4
    for item in candidates:
        assert item.unfinished_thought == (item.index == 3)
        assert item.thought is not None
        assert "secret" not in item.text
        assert "secret" in item.thought.text
        whole = chat.tokenizer.decode(item.token_ids)
        assert whole.startswith("<think>\nThe secret")
    summary = (tmp_path / "run" / "summary.json").read_text("utf-8")
    assert '"unfinished_thought": 6' in summary
    assert len(list((tmp_path / "store" / "adapter").glob("*/stage.json"))) == 2
