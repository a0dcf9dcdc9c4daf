"""A run whose prompts are conversations, with right answers and criteria of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest

from iterdpo.cli import execute as run
from iterdpo.conversation import Message, RubricItem
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy
from iterdpo.runs.directory import Run
from iterdpo.tools.hub.pairs import write_pairs
from iterdpo.tools.report import pairs as shown_pairs
from tests.checkpoints import CheckpointOf
from tests.made_run import answer, choose, config_of

RUBRIC = (
    "{{ prompt }} | right: {{ reference }} |{% for item in rubric %} {{ item.text }} "
    "({{ item.weight }}){% endfor %} | {{ response }}"
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    found = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"{number} + 1?"},
                {"role": "assistant", "content": "Say please."},
                {"role": "user", "content": "Please."},
                {"role": "assistant", "content": f"{number + 1}"},
            ],
            "answer": number + 1,
            "rubric": [{"criterion": f"Says {number + 1}.", "points": 2}],
        }
        for number in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def test_they_reach_the_writer_the_judge_the_records_and_what_is_published(
    tmp_path: Path, checkpoint_of: CheckpointOf, rows: Path
) -> None:
    rubric = tmp_path / "own.jinja"
    rubric.write_text(RUBRIC)
    answered: list[Request] = []
    judged: list[str] = []

    def said(request: Request, policy: Policy, sample: int) -> str:
        answered.append(request)
        return answer(request, policy, sample)

    def scored(request: Request, policy: Policy) -> dict[str, float]:
        judged.append(request.messages[-1].content)
        return choose(request, policy)

    engine = ScriptedEngine(answer=said, choose=scored, vocabulary=200)
    config = config_of(
        tmp_path, checkpoint_of("llama"), f"prompts.path={rows}", "prompts.field=messages",
        "prompts.reference=answer", "prompts.rubric=rubric", f"judge.rubric={rubric}",
        "prompts.system=Unused where a prompt brings its own.", "iterations=1",
    )  # fmt: skip
    run.execute(config, tmp_path / "run", engine)
    made = Run.open(tmp_path / "run")
    prompt = made.made(1).prompts[0]
    number = int(prompt.messages[1].content.partition(" ")[0])
    assert prompt.messages == (
        Message("system", "Be brief."), Message("user", f"{number} + 1?"),
        Message("assistant", "Say please."), Message("user", "Please."),
    )  # fmt: skip
    assert prompt.reference == str(number + 1)
    assert prompt.rubric == (RubricItem(f"Says {number + 1}.", 2.0),)
    assert Request(prompt.messages) in answered
    assert {len(request.messages) for request in answered} == {4}
    asked = f"{prompt.text} | right: {number + 1} | Says {number + 1}. (2.0) | M0 says answer"
    assert any(text.startswith(asked) for text in judged)

    write_pairs(made, tmp_path / "published")
    (file,) = (tmp_path / "published").rglob("*.parquet")
    published = pyarrow.parquet.read_table(file).to_pylist()
    turns = [{"role": item.role, "content": item.content} for item in prompt.messages]
    assert turns in [row["prompt"] for row in published]
    page = shown_pairs.for_page(shown_pairs.find([made]), [made])
    beside = {page["texts"][place] for place in page["pairs"]["beside"]}
    assert f"Right answer: {number + 1}\n+2: Says {number + 1}." in beside
