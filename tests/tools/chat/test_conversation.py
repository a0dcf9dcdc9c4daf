"""A conversation with a scripted talker: turns, models, commands, Ctrl-C and the context."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from iterdpo.engines.base import Sampling
from iterdpo.models.chat_messages import Request
from iterdpo.records import Adapter, Base, Policy
from iterdpo.tools.chat.conversation import Conversation
from iterdpo.tools.chat.shell import ChatShell
from iterdpo.tools.chat.talker import ContextFullError

BASE = Base("p", "s", "none", "float32", "p")
POLICIES = {
    "M0": Policy("M0", BASE),
    "M1": Policy("M1", BASE, Adapter("a", "1")),
    "M2": Policy("M2", BASE, Adapter("b", "2")),
}


class ScriptedTalker:
    """Says who it is and what it heard, word by word; Ctrl-C comes with the word ``interrupt``."""

    def __init__(self, context: int = 1000) -> None:
        self.context, self.stopped = context, 0
        self.asked: list[tuple[Request, str, Sampling]] = []

    def reply(self, request: Request, policy: Policy, sampling: Sampling) -> Iterator[str]:
        self.asked.append((request, policy.name, sampling))
        words = sum(len(message.content.split()) for message in request.messages)
        if words >= self.context:
            raise ContextFullError(words, self.context)
        try:
            for word in [policy.name, " heard", *(f" {w}" for w in said(request)[-1].split())]:
                if word == " interrupt":
                    raise KeyboardInterrupt
                yield word
        except BaseException:
            self.stopped += 1
            raise

    def close(self) -> None:
        pass


def said(request: Request) -> list[str]:
    return [message.content for message in request.messages]


class Talk:
    """One session fed with lines."""

    def __init__(self, *lines: object, context: int = 1000, system: str | None = None,
                 interactive: bool = False) -> None:  # fmt: skip
        self.talker = ScriptedTalker(context)
        self.conversation = Conversation(
            self.talker, POLICIES, "M2", Sampling(temperature=0.7, seed=5), system
        )
        self.out, self.notes = io.StringIO(), io.StringIO()
        self.shown: list[str] = []
        waiting = iter(lines)

        def read(prompt: str) -> str:
            self.shown.append(prompt)
            line = next(waiting, None)
            if line is None:
                raise EOFError
            if line is KeyboardInterrupt:
                raise KeyboardInterrupt
            return str(line)

        ChatShell(self.conversation, "run", read, self.out, self.notes, interactive).loop()

    @property
    def turns(self) -> list[tuple[str, str, str | None]]:
        return [(t.message.role, t.message.content, t.model) for t in self.conversation.turns]


def test_turns_follow_each_other_and_the_template_sees_them_all() -> None:
    talk = Talk("hello", "and now", system="Be brief.")
    assert talk.out.getvalue() == "M2 heard hello\nM2 heard and now\n"
    request, name, _ = talk.talker.asked[1]
    assert name == "M2"
    assert [(m.role, m.content) for m in request.messages] == [
        ("system", "Be brief."), ("user", "hello"), ("assistant", "M2 heard hello"),
        ("user", "and now"),
    ]  # fmt: skip


def test_switching_between_iterations_keeps_the_conversation() -> None:
    talk = Talk("one", "/model m0", "two", "/models")
    assert talk.out.getvalue() == "M2 heard one\nM0 heard two\n"
    assert [turn[2] for turn in talk.turns] == [None, "M2", None, "M0"]
    assert talk.notes.getvalue() == "M0 answers\n[M0] M1 M2\n"
    assert said(talk.talker.asked[1][0]) == ["one", "M2 heard one", "two"]


def test_all_models_answer_the_last_message_and_nothing_changes() -> None:
    talk = Talk("one", "two", "/all")
    assert talk.out.getvalue().splitlines()[2:] == [
        "[M0] M0 heard two", "[M1] M1 heard two", "[M2] M2 heard two"
    ]  # fmt: skip
    asked = talk.talker.asked[2:]
    assert [said(request) for request, _, _ in asked] == [["one", "M2 heard one", "two"]] * 3
    assert len({sampling.seed for _, _, sampling in asked}) == 1  # the same random numbers
    assert len(talk.turns) == 4


def test_again_replaces_the_answer_with_another_draw() -> None:
    talk = Talk("one", "/again")
    assert len(talk.turns) == 2
    assert said(talk.talker.asked[1][0]) == ["one"]
    assert talk.talker.asked[0][2].seed != talk.talker.asked[1][2].seed


def test_reset_system_and_temperature() -> None:
    talk = Talk("one", "/reset", "/system Be kind.", "/temperature 0", "two", "/system -",
                "/temperature", "three")  # fmt: skip
    assert said(talk.talker.asked[1][0]) == ["Be kind.", "two"]
    assert talk.talker.asked[1][2].temperature == 0
    assert said(talk.talker.asked[2][0])[0] == "two"
    assert talk.notes.getvalue().splitlines() == [
        "the conversation is forgotten", "system: Be kind.", "temperature: 0", "system: none",
        "temperature: 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("/model M9", "M9: no such model; there are M0, M1, M2"),
        ("/model", "M2 answers; /model NAME lets another one"),
        ("/nothing", "/nothing: no such command; /help lists them"),
        ("/temperature hot", "/temperature hot: must be a number of at least 0, 0 for greedy"),
        ("/temperature nan", "/temperature nan: must be a number of at least 0, 0 for greedy"),
        ("/all", "there is no message yet; write one first"),
        ("/again", "there is no message yet; write one first"),
        ("/save", "/save: name a file, /save FILE"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_conversation_goes_on(line: str, note: str) -> None:
    talk = Talk(line, "still here")
    assert talk.notes.getvalue() == note + "\n"
    assert talk.out.getvalue() == "M2 heard still here\n"


def test_ctrl_c_stops_the_answer_and_not_the_program() -> None:
    talk = Talk("do interrupt me", "go on")
    assert talk.notes.getvalue() == " (stopped)\n"
    assert talk.talker.stopped == 1
    assert talk.turns[1] == ("assistant", "M2 heard do", "M2")  # as far as it came
    assert talk.out.getvalue().endswith("M2 heard go on\n")


def test_ctrl_c_before_the_first_word_leaves_no_question_without_an_answer() -> None:
    class Silent(ScriptedTalker):
        def reply(self, request: Request, policy: Policy, sampling: Sampling) -> Iterator[str]:
            if request:
                raise KeyboardInterrupt
            yield ""

    conversation = Conversation(Silent(), POLICIES, "M2", Sampling())
    with pytest.raises(KeyboardInterrupt):
        list(conversation.ask("hello"))
    assert conversation.turns == []


def test_another_answer_that_does_not_come_leaves_the_one_before() -> None:
    class Tired(ScriptedTalker):
        def reply(self, request: Request, policy: Policy, sampling: Sampling) -> Iterator[str]:
            if self.asked:
                raise KeyboardInterrupt
            yield from super().reply(request, policy, sampling)

    conversation = Conversation(Tired(), POLICIES, "M2", Sampling())
    list(conversation.ask("hello"))
    before = list(conversation.turns)
    with pytest.raises(KeyboardInterrupt):
        list(conversation.ask_again())
    assert conversation.turns == before
    assert [turn.message.content for turn in before] == ["hello", "M2 heard hello"]


def test_ctrl_c_while_all_answer_stops_all() -> None:
    talk = Talk("interrupt", "/all")
    # The first answer is stopped after two words and kept; of the three, none follows the first.
    assert [name for _, name, _ in talk.talker.asked] == ["M2", "M0"]
    assert talk.notes.getvalue() == " (stopped)\n (stopped)\n"


def test_ctrl_c_at_the_prompt() -> None:
    talk = Talk(KeyboardInterrupt, "hello", interactive=True)
    assert talk.out.getvalue() == "M2 heard hello\n"
    assert "/quit leaves" in talk.notes.getvalue()
    assert talk.shown[0] == "M2> "
    with pytest.raises(KeyboardInterrupt):
        Talk(KeyboardInterrupt)  # a pipe: nobody is there to go on


def test_a_full_context_is_one_line_and_the_message_is_taken_back() -> None:
    talk = Talk("one two three four five", "one", context=5)
    assert talk.notes.getvalue() == (
        "the conversation has 5 tokens and the model holds 5; /reset starts anew, or write less\n"
    )
    assert [turn[1] for turn in talk.turns] == ["one", "M2 heard one"]


@pytest.mark.parametrize("line", ["Name two \udcff things", "/system \ud83d", "/save \udcff"])
def test_a_line_that_is_no_text_is_not_sent_and_the_conversation_goes_on(line: str) -> None:
    talk = Talk(line, "Hi")
    assert "this line is not UTF-8" in talk.notes.getvalue()
    assert [said(request) for request, _, _ in talk.talker.asked] == [["Hi"]]


def test_quit_blank_lines_and_slashes() -> None:
    talk = Talk("", "   ", "//usr/bin is a path", "/quit", "never")
    assert talk.out.getvalue() == "M2 heard /usr/bin is a path\n"


def test_help_names_every_command() -> None:
    talk = Talk("/help")
    for name in ("model", "models", "all", "again", "reset", "system", "temperature", "save",
                 "help", "quit"):  # fmt: skip
        assert f"/{name} " in talk.notes.getvalue()


def test_what_a_model_says_cannot_drive_the_terminal() -> None:
    talk = Talk("\x1b]0;title\x07")
    assert talk.out.getvalue() == "M2 heard \\x1b]0;title\\x07\n"


def test_save_writes_json_and_replaces_nothing(tmp_path: Path) -> None:
    place = tmp_path / "talk.json"
    talk = Talk("one", f"/save {place}", f"/save {place}")
    read = json.loads(place.read_text())
    assert read == {
        "run": "run", "system": None, "temperature": 0.7,
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "M2 heard one", "model": "M2"},
        ],
    }  # fmt: skip
    assert "exists already" in talk.notes.getvalue()
