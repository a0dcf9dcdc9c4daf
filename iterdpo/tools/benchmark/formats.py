"""The files that public benchmarks read, field by field: questions in, answers out.

- AlpacaEval (tatsu-lab/alpaca_eval, ``model_outputs``): a JSON list of ``instruction``, ``output``
  and ``generator``; ``dataset`` is passed on. One ``generator`` a file, which becomes its name on
  the leaderboard.
- Arena-Hard-Auto 2.0 (lmarena/arena-hard-auto, ``model_answer/<model>.jsonl``): ``uid``,
  ``ans_id``, ``model``, ``messages`` whose last content is ``{"answer": text}``, ``tstamp`` and
  ``metadata``. The metadata is left empty: its token counts are those of another tokenizer, and
  that project's ``utils/add_markdown_info.py`` adds them.
- MT-Bench (lm-sys/FastChat, ``llm_judge``, ``model_answer/<model>.jsonl``): ``question_id``,
  ``answer_id``, ``model_id``, ``choices`` with an ``index`` and ``turns``, and ``tstamp``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from iterdpo.conversation import half_pair
from iterdpo.data.content import json_reason, json_value, text_file
from iterdpo.data.values import column_names
from iterdpo.errors import UserError
from iterdpo.records import record_id

Format = Literal["alpaca_eval", "arena_hard", "mt_bench"]
FORMATS: tuple[Format, ...] = get_args(Format)

MT_BENCH_TEMPERATURES: Mapping[str, float] = {
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0,
    "reasoning": 0.0, "stem": 0.1, "humanities": 0.1,
}  # fmt: skip
"""By category, as FastChat's ``llm_judge/common.py`` has them."""
MT_BENCH_OTHER = 0.7
"""Of any other category, as its ``gen_model_answer.py`` has it."""


@dataclass(frozen=True)
class BenchmarkQuestion:
    """One question: what is asked turn by turn, and what its benchmark wants back with it."""

    turns: tuple[str, ...]
    fields: Mapping[str, Any]
    """As in the question file."""
    temperature: float | None = None
    """What the benchmark samples at; None leaves it to the run."""


class Writer(Protocol):
    """Puts the answers of one model in a benchmark's form."""

    def __call__(
        self,
        questions: Sequence[BenchmarkQuestion],
        answers: Sequence[Sequence[str]],
        model: str,
        now: float,
    ) -> str:
        """Return the file's content.

        Args:
            questions: what was asked.
            answers: an answer a turn for each question.
            model: what the benchmark is to call the model.
            now: seconds since the epoch.
        """


def read_questions(path: Path, kind: Format) -> list[BenchmarkQuestion]:
    """Read a benchmark's own file of questions.

    Raises:
        UserError: it cannot be read, or an entry lacks what the benchmark names a question by.
    """
    entries = _entries(path)
    questions = [_question(path, number, entry, kind) for number, entry in enumerate(entries, 1)]
    if not questions:
        raise UserError(f"--questions={path}: holds no question; name the benchmark's own file")
    return questions


def write_alpaca_eval(
    questions: Sequence[BenchmarkQuestion], answers: Sequence[Sequence[str]], model: str, now: float
) -> str:
    """Return AlpacaEval's ``model_outputs``."""
    rows = [
        {key: question.fields[key] for key in ("dataset",) if key in question.fields}
        | {"instruction": question.turns[0], "output": answer[0], "generator": model}
        for question, answer in zip(questions, answers, strict=True)
    ]
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def write_arena_hard(
    questions: Sequence[BenchmarkQuestion], answers: Sequence[Sequence[str]], model: str, now: float
) -> str:
    """Return Arena-Hard-Auto's ``model_answer`` lines."""
    rows = [
        {
            "uid": question.fields["uid"],
            "ans_id": record_id("answer", (model, str(question.fields["uid"])), 0, answer[0]),
            "model": model,
            "messages": [
                {"role": "user", "content": question.turns[0]},
                {"role": "assistant", "content": {"answer": answer[0]}},
            ],
            "tstamp": now,
            "metadata": {},
        }
        for question, answer in zip(questions, answers, strict=True)
    ]
    return _lines(rows)


def write_mt_bench(
    questions: Sequence[BenchmarkQuestion], answers: Sequence[Sequence[str]], model: str, now: float
) -> str:
    """Return MT-Bench's ``model_answer`` lines."""
    rows = [
        {
            "question_id": question.fields["question_id"],
            "answer_id": record_id(
                "answer", (model, str(question.fields["question_id"])), 0, json.dumps(list(answer))
            ),
            "model_id": model,
            "choices": [{"index": 0, "turns": list(answer)}],
            "tstamp": now,
        }
        for question, answer in zip(questions, answers, strict=True)
    ]
    return _lines(rows)


WRITERS: Mapping[Format, Writer] = {
    "alpaca_eval": write_alpaca_eval,
    "arena_hard": write_arena_hard,
    "mt_bench": write_mt_bench,
}
SUFFIXES: Mapping[Format, str] = {
    "alpaca_eval": ".json", "arena_hard": ".jsonl", "mt_bench": ".jsonl",
}  # fmt: skip


def _question(path: Path, number: int, entry: Any, kind: Format) -> BenchmarkQuestion:
    where = f"--questions={path}: entry {number}"
    if not isinstance(entry, dict):
        raise UserError(f"{where} is no object; name the benchmark's own file")
    # What a field holds goes into the file of answers, which is written when all are there.
    if half := half_pair(json.dumps(entry, ensure_ascii=False)):
        raise UserError(f"{where} holds half of a surrogate pair ({half}); correct it")
    if kind == "alpaca_eval":
        text = _text(where, entry, "instruction")
        extra = entry.get("input")
        return BenchmarkQuestion((f"{text}\n\n{extra}" if extra else text,), entry)
    if kind == "arena_hard":
        _need(where, entry, "uid")
        return BenchmarkQuestion((_text(where, entry, "prompt"),), entry, temperature=0.0)
    _need(where, entry, "question_id")
    turns = entry.get("turns")
    if not (isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns)):
        raise UserError(f"{where} has no list of texts 'turns', as {kind} has")
    heat = MT_BENCH_TEMPERATURES.get(str(entry.get("category")), MT_BENCH_OTHER)
    return BenchmarkQuestion(tuple(turns), entry, temperature=heat)


def _text(where: str, entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where} has no text {name!r}; it has {column_names(list(entry))}")
    return value


def _need(where: str, entry: Mapping[str, Any], name: str) -> None:
    if not isinstance(entry.get(name), str | int):
        raise UserError(f"{where} has no {name!r}; it has {column_names(list(entry))}")


def _entries(path: Path) -> list[Any]:
    raw = text_file(path, f"--questions={path}")
    try:
        if raw.lstrip().startswith("["):
            entries: list[Any] = json_value(raw)
            return entries
        return [json_value(line) for line in raw.split("\n") if line.strip()]
    except ValueError as error:
        raise UserError(
            f"--questions={path}: is neither a JSON list nor JSON lines ({json_reason(error)})"
        ) from None


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
