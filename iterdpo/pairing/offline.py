"""The pairs that somebody gave, as they stand: nothing is ranked and nothing chosen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from iterdpo.pairing.base import DropReason, Pairing, Ranked, make_pair
from iterdpo.records import Candidate, Judgment, Prompt

CHOSEN, REJECTED = "chosen", "rejected"
"""What a row's two answers are called, and the remainders of their indices by 2: 0 and 1."""


def keep_offline_pairs(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    judgments: Sequence[Judgment],
    longest: int | None,
) -> Pairing:
    """Pair the answers of each row, so that kept + dropped = rows.

    Equal scores are no reason to drop a pair: whoever gave it said which answer is better.

    Args:
        prompts: all prompts of the iteration.
        candidates: their answers; a row's chosen and rejected ones have the indices 2j and 2j + 1.
        judgments: one for each candidate.
        longest: most tokens of prompt and answer together; None for no limit.

    Raises:
        ValueError: an answer has no counterpart, no score, or no prompt.
    """
    scored = {judgment.candidate_id: judgment for judgment in judgments}
    rows: defaultdict[tuple[str, int], dict[int, Ranked]] = defaultdict(dict)
    for candidate in candidates:
        judgment = scored[candidate.id]
        if judgment.score is None:
            raise ValueError(f"candidate {candidate.id}: given without a score")
        row, side = divmod(candidate.index, 2)
        rows[candidate.prompt_id, row][side] = Ranked(candidate, judgment, judgment.score)
    kept, dropped = [], Counter[DropReason]()
    by_id = {prompt.id: prompt for prompt in prompts}
    for (prompt_id, row), sides in rows.items():
        if set(sides) != {0, 1} or prompt_id not in by_id:
            raise ValueError(
                f"prompt {prompt_id}, pair {row}: one of prompt and answers is missing"
            )
        if reason := _drop_reason(sides[0].candidate, sides[1].candidate, longest):
            dropped[reason] += 1
        else:
            kept.append(make_pair(by_id[prompt_id], sides[0], sides[1]))
    return Pairing(tuple(kept), {reason: dropped[reason] for reason in DropReason})


def _drop_reason(chosen: Candidate, rejected: Candidate, longest: int | None) -> DropReason | None:
    answers = (chosen, rejected)
    if not all(item.text.strip() for item in answers):
        return DropReason.EMPTY
    sizes = (len(item.prompt_token_ids) + len(item.token_ids) for item in answers)
    if longest is not None and max(sizes) > longest:
        return DropReason.TOO_LONG
    # Texts that differ may still be the same to the model, once they are its tokens.
    same = chosen.text.split() == rejected.text.split() or chosen.token_ids == rejected.token_ids
    return DropReason.IDENTICAL if same else None
