"""The files that the benchmarks read: the fields that their sources read, and nothing made up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from iterdpo.engines.base import Completion, PromptTooLong, Sampling
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.records import Base, Policy
from iterdpo.tools.benchmark.answering import answer_questions, request_of
from iterdpo.tools.benchmark.formats import (
    BenchmarkQuestion,
    Format,
    read_questions,
    write_alpaca_eval,
    write_arena_hard,
    write_mt_bench,
)

POLICY = Policy("M1", Base("p", "s", "none", "float32", "p"))


def saved(tmp_path: Path, name: str, *entries: Any, lines: bool = True) -> Path:
    place = tmp_path / name
    text = "".join(json.dumps(entry) + "\n" for entry in entries) if lines else json.dumps(entries)
    place.write_text(text)
    return place


def test_alpaca_eval(tmp_path: Path) -> None:
    file = saved(tmp_path, "q.json", {"instruction": "Say é.", "dataset": "d", "output": "theirs"},
                 {"instruction": "Add.", "input": "1 2"}, lines=False)  # fmt: skip
    questions = read_questions(file, "alpaca_eval")
    assert [question.turns for question in questions] == [("Say é.",), ("Add.\n\n1 2",)]
    assert json.loads(write_alpaca_eval(questions, [("é",), ("3",)], "run-M1", 1.0)) == [
        {"dataset": "d", "instruction": "Say é.", "output": "é", "generator": "run-M1"},
        {"instruction": "Add.\n\n1 2", "output": "3", "generator": "run-M1"},
    ]


def test_arena_hard(tmp_path: Path) -> None:
    file = saved(tmp_path, "q.jsonl", {"uid": "u1", "category": "hard_prompt", "prompt": "Why?"})
    questions = read_questions(file, "arena_hard")
    assert questions[0].temperature == 0.0
    (line,) = write_arena_hard(questions, [("Because\nso.",)], "run-M1", 12.5).splitlines()
    read = json.loads(line)
    assert len(read.pop("ans_id")) == 16
    assert read == {
        "uid": "u1", "model": "run-M1", "tstamp": 12.5, "metadata": {},
        "messages": [
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": {"answer": "Because\nso."}},
        ],
    }  # fmt: skip
    # As its gen_judgment reads it:
    assert read["messages"][-1]["content"]["answer"] == "Because\nso."


def test_mt_bench(tmp_path: Path) -> None:
    file = saved(
        tmp_path, "q.jsonl",
        {"question_id": 81, "category": "writing", "turns": ["a", "b"]},
        {"question_id": 111, "category": "math", "turns": ["c", "d"]},
        {"question_id": 7, "category": "own", "turns": ["e"]},
    )  # fmt: skip
    questions = read_questions(file, "mt_bench")
    assert [question.temperature for question in questions] == [0.7, 0.0, 0.7]
    text = write_mt_bench(questions, [("1", "2"), ("3", "4"), ("5",)], "run-M1", 3.0)
    read = [json.loads(line) for line in text.splitlines()]
    assert len({entry.pop("answer_id") for entry in read}) == 3
    assert read[0] == {
        "question_id": 81, "model_id": "run-M1", "tstamp": 3.0,
        "choices": [{"index": 0, "turns": ["1", "2"]}],
    }  # fmt: skip
    assert read[2]["choices"][0]["turns"] == ["5"]


@pytest.mark.parametrize(
    ("kind", "entry", "said"),
    [
        ("alpaca_eval", {"prompt": "x"}, "entry 1 has no text 'instruction'; it has prompt"),
        ("alpaca_eval", {"instruction": " "}, "has no text 'instruction'"),
        ("arena_hard", {"prompt": "x"}, "has no 'uid'"),
        ("arena_hard", {"uid": "u", "turns": ["x"]}, "has no text 'prompt'"),
        ("mt_bench", {"question_id": 1, "turns": []}, "has no list of texts 'turns'"),
        ("mt_bench", {"turns": ["x"]}, "has no 'question_id'"),
        ("mt_bench", ["x"], "is no object"),
    ],
)
def test_a_file_of_something_else_is_refused(
    tmp_path: Path, kind: Format, entry: dict[str, Any] | list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_questions(saved(tmp_path, "q.jsonl", entry), kind)


def test_the_mark_before_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    file = saved(tmp_path, "a.json", {"instruction": "Hi"}, lines=False)
    plain = read_questions(file, "alpaca_eval")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_questions(file, "alpaca_eval") == plain


@pytest.mark.parametrize("field", ["instruction", "dataset", "anything"])
def test_half_of_a_surrogate_pair_is_refused_before_anything_is_asked(
    tmp_path: Path, field: str
) -> None:
    broken = {"instruction": "Hi"} | {field: "Half \ud83d emoji"}
    file = saved(tmp_path, "a.json", {"instruction": "Hi"}, broken, lines=False)
    with pytest.raises(UserError, match=r"entry 2 holds half of a surrogate pair \(U\+D83D\)"):
        read_questions(file, "alpaca_eval")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl", "mt_bench")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(UserError, match="neither a JSON list nor JSON lines"):
        read_questions(tmp_path / "bad", "mt_bench")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UserError, match="holds no question"):
        read_questions(tmp_path / "empty", "mt_bench")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(UserError, match="not UTF-8"):
        read_questions(tmp_path / "latin", "mt_bench")


@dataclass
class Asked(ScriptedEngine):
    """Keeps what it is asked."""

    seen: list[tuple[float, list[list[str]]]] = field(default_factory=list)

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        self.seen.append(
            (sampling.temperature, [[m.content for m in request.messages] for request in requests])
        )
        yield from super().generate(requests, policy, sampling)


def test_the_second_turn_sees_the_models_own_first_answer_at_the_same_temperature(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Asked(
        answer=lambda request, policy, sample: f"re {request.messages[-1].content}", context=40
    )
    questions = [
        BenchmarkQuestion(("a", "b"), {}, 0.7), BenchmarkQuestion(("c", "d"), {}, 0.0),
        BenchmarkQuestion(("e",), {}, 0.7),
        BenchmarkQuestion(("w " * 50,), {}, 0.7),
    ]  # fmt: skip
    caplog.set_level("WARNING", "iterdpo")
    given = answer_questions(engine, POLICY, questions, Sampling(top_p=0.9), "sys")
    assert given == [("re a", "re b"), ("re c", "re d"), ("re e",), ("",)]
    assert "1 turns do not fit" in caplog.text
    assert engine.seen[0] == (0.7, [["sys", "a"], ["sys", "e"], ["sys", "w " * 50]])
    assert engine.seen[1:] == [
        (0.0, [["sys", "c"]]),
        (0.7, [["sys", "a", "re a", "b"]]),
        (0.0, [["sys", "c", "re c", "d"]]),
    ]


def test_a_temperature_of_the_users_outweighs_the_benchmarks() -> None:
    engine = Asked(answer=lambda request, policy, sample: "x")
    questions = [BenchmarkQuestion(("a",), {}, 0.7), BenchmarkQuestion(("b",), {}, None)]
    answer_questions(
        engine, POLICY, questions, Sampling(temperature=0.2), None, own_temperature=True
    )
    assert {temperature for temperature, _ in engine.seen} == {0.2}


def test_roles_alternate() -> None:
    request = request_of(BenchmarkQuestion(("a", "b", "c"), {}), ["x", "y"], None)
    assert [message.role for message in request.messages] == [
        "user", "assistant", "user", "assistant", "user"
    ]  # fmt: skip
