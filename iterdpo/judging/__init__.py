"""How candidates are judged: rubrics, verdicts, scores, and the policy as its own judge.

A judge of your own derives from ``PromptJudge`` (or from ``Judge``) and is named by
``judge._target_``.
"""

from iterdpo.judging.base import Group, Judge
from iterdpo.judging.by_prompt import PromptJudge
from iterdpo.records import Scored, Unscored, UnscoredReason

__all__ = ["Group", "Judge", "PromptJudge", "Scored", "Unscored", "UnscoredReason"]
