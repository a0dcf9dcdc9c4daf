"""Answers are scored exactly, where the world has an oracle: to measure, never to train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from iterdpo.evaluation.oracles import OracleScore
from iterdpo.evaluation.verifiers import score_answer
from iterdpo.settings import identity
from iterdpo.stages import names
from iterdpo.stages.base import Candidates, Metrics, Prompts, RecordStage
from iterdpo.store.stage import Work
from iterdpo.verifiers.base import Verifier


@dataclass(frozen=True)
class ScoreByOracle(RecordStage[OracleScore]):
    """The oracle's score of every answer; those to prompts that it does not know have none."""

    oracle: Verifier

    name = names.ORACLE_SCORES
    record = OracleScore

    @property
    def settings(self) -> Mapping[str, object]:
        return {"oracle": identity(self.oracle)}

    def compute(
        self,
        work: Work,
        prompts: Prompts,
        answers: Candidates,
    ) -> Metrics:
        known = {prompt.id: prompt for prompt in prompts.value if self.oracle.knows(prompt)}
        scored = [
            OracleScore(answer.id, prompt.id, score_answer(self.oracle, prompt, answer.text))
            for answer in answers.value
            if (prompt := known.get(answer.prompt_id))
        ]
        self.keep(work, scored)
        return {"answers": len(answers.value), "scored": len(scored)}


def by_candidate(scores: Iterable[OracleScore]) -> dict[str, float]:
    """Return each answer's score by its id."""
    return {item.candidate_id: item.score for item in scores}


def by_prompt(scores: Iterable[OracleScore]) -> dict[str, list[float]]:
    """Return the scores of the answers to each prompt, in their order, by prompt id."""
    found: dict[str, list[float]] = {}
    for item in scores:
        found.setdefault(item.prompt_id, []).append(item.score)
    return found
