"""What a run says of its scores when it has to stop."""

from __future__ import annotations

import pytest

from iterdpo.recipe import histogram


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([], "none"),
        ([None], "unscored: 1"),
        ([4.2, 3.1, None, 4.4], "3: 1, 4: 2, unscored: 1"),
        ([2.0, 2.0], "2: 2"),
        ([-0.3, 0.4, 1.2], "0: 2, 1: 1"),
        # A reward model's: width (18 - -22) / 8 = 5.
        ([-22.0, 18.0, -21.0, 3.0], "-22 to -17: 2, 3 to 8: 1, 13 to 18: 1"),
        # A ranker's, close to 0: width 0.8 / 8 = 0.1.
        ([-0.4, 0.4, 0.35, None], "-0.4 to -0.3: 1, 0.3 to 0.4: 2, unscored: 1"),
    ],
)
def test_scores_of_any_sign_and_size_fit_into_a_line(scores: list[float | None], said: str) -> None:
    assert histogram(scores) == said
