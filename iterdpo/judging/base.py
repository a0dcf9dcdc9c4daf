"""What the loop asks of anything that can judge: a policy, a reward model, an oracle, people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from iterdpo.records import Candidate, Judgment, Policy, Prompt, Verdict, record_id


class Judge(Protocol):
    """Scores candidates. Implementations inherit what they have nothing to say of."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What of this judge may change its judgments, as JSON: part of their key. ``judge`` in it
        is the kind.
        """

    @property
    def by_prompt(self) -> bool:
        """Whether it compares the answers to a prompt, and so must get them all in one call."""
        return False

    @property
    def part_rows(self) -> int:
        """How many answers a caller should ask for and keep together, 1 or more."""
        return 256

    @property
    def streams(self) -> bool:
        """Whether a judgment does not depend on the call it is in: then a caller should ask for
        everything at once and keep the judgments part by part as they come.
        """
        return False

    @property
    def holds_model(self) -> bool:
        """Whether it loads a model of its own, for which the engine should make room."""
        return False

    @property
    def counts(self) -> Mapping[str, float]:
        """What it has counted since it was made, by name: money, comparisons, order flips."""
        return {}

    def judge(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], policy: Policy
    ) -> Iterator[Judgment]:
        """Yield one judgment a candidate, in the order of ``candidates``, as they are ready.

        Args:
            prompts: at least the prompts of the candidates.
            candidates: the answers to judge.
            policy: the model that judges, where the judge is a model of the run.

        Raises:
            ValueError: a candidate's prompt is not among ``prompts``.
        """

    def close(self) -> None:
        """Release what only judging needs. A later call would take it again."""
        return


def prompt_texts(prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> dict[str, str]:
    """Return the text of each prompt by id, having checked that every candidate has one.

    Raises:
        ValueError: a candidate's prompt is not among ``prompts``.
    """
    texts = {prompt.id: prompt.text for prompt in prompts}
    for candidate in candidates:
        if candidate.prompt_id not in texts:
            raise ValueError(
                f"candidate {candidate.id}: its prompt {candidate.prompt_id} was not given"
            )
    return texts


def grouped_by_prompt(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Return the candidates by the id of their prompt, all in their order."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.prompt_id, []).append(candidate)
    return groups


def judgment(
    candidate: Candidate,
    judge: str,
    verdict: Verdict,
    *,
    raw: tuple[str, ...] = (),
    distribution: tuple[float, ...] = (),
    mass: float | None = None,
) -> Judgment:
    """Return the record of a verdict, named by what the judge said.

    Args:
        candidate: what was judged.
        judge: fingerprint of who judged.
        verdict: the score, or why there is none.
        raw: the judge's own texts, or what it read off a model in words.
        distribution: probabilities of the scores low to high, when read from the logits.
        mass: what those held together before renormalizing, in [0, 1].
    """
    said = "\n".join(raw) if raw else repr(distribution)
    return Judgment(
        id=record_id("judgment", (candidate.id, judge), 0, said),
        candidate_id=candidate.id,
        prompt_id=candidate.prompt_id,
        judge=judge,
        verdict=verdict,
        raw=raw,
        distribution=distribution,
        mass=mass,
    )
