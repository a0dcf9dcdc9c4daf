"""How a stage asks a judge: what it gets in one call, and whose memory it may have."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice
from typing import Final

from iterdpo.engines.base import Engine
from iterdpo.errors import LineageError, UserError, described
from iterdpo.judging.base import Group, Judge, judgment
from iterdpo.records import Candidate, Judgment, Policy, Prompt, Unscored, UnscoredReason
from iterdpo.settings import is_ours


def groups_of(
    prompts: Iterable[Prompt], candidates: Sequence[Candidate], judge: Judge
) -> list[Group]:
    """Return the candidates in the groups that no call may part, in their order.

    A judge that compares gets the answers to a prompt together; any other takes them one by one.

    Raises:
        ValueError: a candidate's prompt is not among ``prompts``, or the answers to a prompt do not
            stand together, and the judge compares.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    for candidate in candidates:
        if candidate.prompt_id not in by_id:
            raise ValueError(
                f"candidate {candidate.id}: its prompt {candidate.prompt_id} was not given"
            )
    if not judge.by_prompt:
        return [Group(by_id[candidate.prompt_id], (candidate,)) for candidate in candidates]
    groups = [
        Group(by_id[prompt_id], tuple(answers))
        for prompt_id, answers in groupby(candidates, lambda item: item.prompt_id)
    ]
    if len({group.prompt.id for group in groups}) < len(groups):
        raise ValueError("the answers to a prompt do not stand together")
    return groups


def shard_groups(groups: Sequence[Group], judge: Judge) -> int:
    """Return how many groups to ask for and keep together, 1 or more."""
    return max(1, judge.shard_rows // max((len(group.candidates) for group in groups), default=1))


def ask(judge: Judge, groups: Sequence[Group], policy: Policy) -> Iterator[list[Judgment]]:
    """Yield the judgments of one group after the other.

    An answer whose thought never closed is unscored, and no judge is asked about it.

    Raises:
        UserError: the judge left an answer out, judged another, or says that somebody else judged;
            or it is a class of the user's own, in which anything went wrong.
    """
    due = policy.fingerprint if judge.asks_policy else judge.fingerprint
    # A class of one's own may return a list: it is asked when its first judgment is due.
    judging = (item for asked in (_to_judge(groups),) for item in judge.judge(asked, policy))
    for whole in groups:
        group = _finished(whole)
        said = f"judge: {type(judge).__name__}: prompt {group.prompt.id}"
        with blaming(judge, said):
            made = list(islice(judging, len(group.candidates)))
        if [item.candidate_id for item in made] != [item.id for item in group.candidates]:
            raise UserError(
                f"{said}: its {len(made)} judgments are not those of the "
                f"{len(group.candidates)} answers; yield one for each, in their order"
            )
        if other := {item.judge for item in made} - {due}:
            raise UserError(
                f"{said}: names {other.pop()} as the judge; name {due}, which is the fingerprint "
                f"of {'the policy' if judge.asks_policy else 'the judge'}"
            )
        by_id = {item.candidate_id: item for item in made}
        yield [by_id.get(item.id) or judgment(item, due, _NO_ANSWER) for item in whole.candidates]


_NO_ANSWER: Final = Unscored(UnscoredReason.UNFINISHED_THOUGHT)


def _to_judge(groups: Sequence[Group]) -> list[Group]:
    return [group for group in map(_finished, groups) if group.candidates]


def _finished(group: Group) -> Group:
    """Return a group without those of its candidates that hold no answer."""
    kept = tuple(item for item in group.candidates if not item.unfinished_thought)
    return replace(group, candidates=kept)


@contextmanager
def blaming(judge: Judge, said: str) -> Iterator[None]:
    """Tell in one line what goes wrong in the block in a class of the user's own.

    Args:
        judge: what is asked in the block.
        said: what the line begins with.

    Raises:
        UserError: anything but an error of ours was raised.
    """
    try:
        yield
    except (UserError, LineageError):
        raise
    except Exception as error:
        if is_ours(type(judge)):
            raise
        file = getattr(sys.modules.get(type(judge).__module__), "__file__", None)
        raise UserError(f"{said}: {described(error, file)}") from error


@contextmanager
def room_for(judge: Judge, engine: Engine) -> Iterator[None]:
    """Let a judge's own model have the engine's memory for the block, and give it back after."""
    if judge.holds_model:
        engine.sleep()
    try:
        yield
    finally:
        judge.close()
    if judge.holds_model:
        engine.wake()
