"""A stage asks a judge: prompts are not parted, shards are resumed, memory is made room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import UserError
from iterdpo.judging.asking import groups_of, room_for, shard_groups
from iterdpo.judging.base import Judge, answers_of, judgment
from iterdpo.records import Candidate, Judgment, Prompt, Scored
from iterdpo.settings import Keyless, Provided
from iterdpo.stages.judge import JudgeCandidates
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Stored
from tests.judging.rankers import POLICY, candidate

PROMPTS = tuple(Prompt.of(f"prompt {number}", "t") for number in range(5))
ANSWERS = tuple(candidate(prompt, index, f"{index}") for prompt in PROMPTS for index in range(4))


@dataclass
class Ranks(Judge):
    """Scores an answer by how many came with it in one call; fails at the prompt it is told to."""

    together: Annotated[bool, Keyless("tried")] = True
    rows: Annotated[int, Keyless("tried")] = 9
    own: Annotated[bool, Keyless("tried")] = False
    fails_at: Annotated[str | None, Keyless("tried")] = None
    calls: Provided[list[tuple[str, ...]]] = field(default_factory=list)
    log: Provided[list[str]] = field(default_factory=list)

    @property
    def by_prompt(self) -> Any:
        return self.together

    @property
    def shard_rows(self) -> Any:
        return self.rows

    @property
    def holds_model(self) -> Any:
        return self.own

    @property
    def counts(self) -> Any:
        return {"calls": len(self.calls)}

    def judge(self, groups: Any, policy: Any) -> Iterator[Any]:
        candidates = [candidate for _, candidate in answers_of(groups)]
        self.calls.append(tuple(item.prompt_id for item in candidates))
        for item in candidates:
            if item.prompt_id == self.fails_at:
                raise RuntimeError("power cut")
            company = sum(other.prompt_id == item.prompt_id for other in candidates)
            yield judgment(item, self.fingerprint, Scored(float(company)))

    def close(self) -> None:
        self.log.append("judge closes")


@dataclass(frozen=True)
class Given:
    """A stage that only holds what it is given."""

    value: Any
    name: str
    version = 1
    settings: ClassVar[dict[str, object]] = {}

    def compute(self, work: Any) -> Any:
        return {}

    def load(self, directory: Any) -> Any:
        return self.value


def run(
    root: Path, judge: Judge, answers: Sequence[Candidate] = ANSWERS, engine: Any = None
) -> Stored[tuple[Judgment, ...]]:
    stages = Stages(root)
    step = JudgeCandidates(judge, engine or ScriptedEngine(lambda *_: ""))
    given = (Given(PROMPTS, "prompts"), Given(answers, "candidates"), Given(POLICY, "base"))
    asked, answered, policy = map(stages.run, given)
    return stages.run(step, asked, answered, policy)


def test_a_prompt_s_answers_come_in_one_call_whatever_the_part(tmp_path: Path) -> None:
    judge = Ranks(rows=9)
    judgments = run(tmp_path, judge)
    # Nine rows hold two prompts of four answers.
    assert [len(call) for call in judge.calls] == [8, 8, 4]
    assert [item.candidate_id for item in judgments.value] == [item.id for item in ANSWERS]
    assert {item.score for item in judgments.value} == {4.0}
    assert judgments.metrics["judge"] == {"calls": 3}
    run(tmp_path / "tiny", tiny := Ranks(rows=1))
    assert [len(call) for call in tiny.calls] == [4] * 5


def test_a_judge_of_single_answers_gets_rows(tmp_path: Path) -> None:
    judge = Ranks(together=False, rows=9)
    run(tmp_path, judge)
    assert [len(call) for call in judge.calls] == [9, 9, 2]


def test_a_cut_off_stage_goes_on_at_the_prompt_it_was_at(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="power cut"):
        run(tmp_path, Ranks(rows=8, fails_at=PROMPTS[3].id))
    judge = Ranks(rows=8)
    judgments = run(tmp_path, judge)
    assert [len(call) for call in judge.calls] == [8, 4]
    assert judgments.metrics["judgments_new"] == 12
    assert judgments.value == run(tmp_path / "whole", Ranks(rows=8)).value


def test_answers_of_a_prompt_that_do_not_stand_together() -> None:
    mixed = [ANSWERS[0], ANSWERS[4], ANSWERS[1]]
    with pytest.raises(ValueError, match="do not stand together"):
        groups_of(PROMPTS, mixed, Ranks())
    assert len(groups_of(PROMPTS, mixed, Ranks(together=False))) == 3
    assert groups_of(PROMPTS, [], Ranks()) == []
    assert shard_groups([], Ranks(rows=7)) == 7


def test_a_candidate_without_its_prompt() -> None:
    with pytest.raises(ValueError, match=ANSWERS[4].id):
        groups_of(PROMPTS[:1], ANSWERS, Ranks())


class Forgets(Ranks):
    """Leaves the last answer out."""

    def judge(self, groups: Any, policy: Any) -> Iterator[Any]:
        yield from list(super().judge(groups, policy))[:-1]


class Swaps(Ranks):
    """Judges the last two answers the other way round."""

    def judge(self, groups: Any, policy: Any) -> Iterator[Any]:
        *made, one, other = super().judge(groups, policy)
        yield from [*made, other, one]


class Hides(Ranks):
    """Names somebody else as the judge."""

    def judge(self, groups: Any, policy: Any) -> Iterator[Any]:
        for _, item in answers_of(groups):
            yield judgment(item, "somebody", Scored(1.0))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (Forgets(rows=4), r"its 3 judgments are not those of the 4 answers; yield one for each"),
        (Swaps(rows=4), r"its 4 judgments are not those of the 4 answers; yield one for each"),
        (
            Hides(rows=4),
            r"names somebody as the judge; name \w{16}, which is the fingerprint of",
        ),
    ],
    ids=["too few", "out of order", "another judge"],
)
def test_what_a_judge_says_wrongly_is_no_result(tmp_path: Path, judge: Judge, said: str) -> None:
    with pytest.raises(
        UserError, match=rf"^judge: {type(judge).__name__}: prompt \w{{16}}: {said}"
    ):
        run(tmp_path, judge)


@pytest.mark.parametrize(
    ("own", "expected"),
    [(True, ["sleeps", "judges", "judge closes", "wakes"]), (False, ["judges", "judge closes"])],
)
def test_the_engine_makes_room_for_a_model_and_takes_it_back_after(
    own: bool, expected: list[str]
) -> None:
    judge = Ranks(own=own)

    class Engine(ScriptedEngine):
        def sleep(self) -> Any:
            judge.log.append("sleeps")
            return True

        def wake(self) -> None:
            judge.log.append("wakes")

    with room_for(judge, Engine(lambda *_: "")):
        judge.log.append("judges")
    assert judge.log == expected


def test_a_judge_s_memory_is_given_back_after_an_error_too() -> None:
    judge = Ranks(own=True)
    with pytest.raises(RuntimeError), room_for(judge, ScriptedEngine(lambda *_: "")):
        raise RuntimeError
    assert judge.log == ["judge closes"]
