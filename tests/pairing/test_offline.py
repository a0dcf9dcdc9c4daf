"""Given pairs stay as they were given; what cannot be used is counted."""

from __future__ import annotations

import dataclasses

import pytest

from iterdpo.pairing.base import DropReason
from iterdpo.pairing.offline import keep_offline_pairs
from iterdpo.records import (
    Candidate,
    FinishReason,
    Judgment,
    Prompt,
    Scored,
    Unscored,
    UnscoredReason,
)

PROMPT = Prompt.of("Which?", "file, line 1")


def answers(*texts: str, scores: tuple[float, ...] = ()) -> tuple[list[Candidate], list[Judgment]]:
    """Answers to one prompt, two a row, of three tokens and as many as their text has letters."""
    candidates = [
        Candidate(
            f"c{n}", PROMPT.id, n, text, (1, 2, 3), tuple(map(ord, text)), (), FinishReason.STOP,
            "given", 0,
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip
    given = scores or (1.0, 0.0) * (len(texts) // 2)
    judgments = [
        Judgment(f"j{n}", f"c{n}", PROMPT.id, "judge", Scored(score))
        for n, score in enumerate(given)
    ]
    return candidates, judgments


def test_each_row_is_a_pair_however_it_is_scored() -> None:
    made = keep_offline_pairs(
        [PROMPT], *answers("good", "bad", "x", "y", scores=(3, 3, 1, 5)), None
    )
    assert [(p.chosen, p.rejected, p.margin) for p in made.kept] == [
        ("good", "bad", 0), ("x", "y", -4),
    ]  # fmt: skip
    assert [(p.chosen_id, p.rejected_id) for p in made.kept] == [("c0", "c1"), ("c2", "c3")]
    assert (made.kept[0].policy, made.kept[0].judge) == ("given", "judge")
    assert list(made.dropped) == list(DropReason)
    assert not any(made.dropped.values())


@pytest.mark.parametrize(
    ("texts", "longest", "reason"),
    [
        (("good", " "), None, DropReason.EMPTY),
        (("good answer", "good  answer "), None, DropReason.IDENTICAL),
        (("good", "long one"), 10, DropReason.TOO_LONG),
        (("long one", "good"), 10, DropReason.TOO_LONG),
        (("good", "long on"), 10, None),
    ],
)
def test_what_training_cannot_use_is_counted(
    texts: tuple[str, str], longest: int | None, reason: DropReason | None
) -> None:
    made = keep_offline_pairs([PROMPT], *answers(*texts, "a", "b"), longest)
    assert len(made.kept) == 1 + (reason is None)
    assert {r for r, n in made.dropped.items() if n} == ({reason} if reason else set())
    assert len(made.kept) + sum(made.dropped.values()) == 2


def test_texts_that_are_the_same_tokens_are_identical() -> None:
    candidates, judgments = answers("café", "cafe")
    same = [dataclasses.replace(item, token_ids=(7, 8)) for item in candidates]
    assert keep_offline_pairs([PROMPT], same, judgments, None).dropped[DropReason.IDENTICAL] == 1


def test_half_a_row_is_a_mistake() -> None:
    candidates, judgments = answers("good", "bad")
    with pytest.raises(ValueError, match="pair 0"):
        keep_offline_pairs([PROMPT], candidates[:1], judgments, None)
    with pytest.raises(ValueError, match="prompt"):
        keep_offline_pairs([], candidates, judgments, None)
    unread = dataclasses.replace(judgments[0], verdict=Unscored(UnscoredReason.REFUSED))
    with pytest.raises(ValueError, match="without a score"):
        keep_offline_pairs([PROMPT], candidates, [unread, judgments[1]], None)
