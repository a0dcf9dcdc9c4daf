import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.judging.scores import expected_score, mean_verdict
from iterdpo.records import Scored, Unscored, UnscoredReason

INF = math.inf


def test_expected_score_by_hand() -> None:
    # p(3) = 0.1, p(4) = 0.3, p(5) = 0.1: mass 0.5, renormalized 0.2, 0.6, 0.2,
    # mean 3 * 0.2 + 4 * 0.6 + 5 * 0.2 = 4.
    logprobs = [-INF, -INF, -INF, math.log(0.1), math.log(0.3), math.log(0.1)]
    expected = expected_score(logprobs, 0, 5)
    assert expected is not None
    assert expected.score == pytest.approx(4)
    assert expected.mass == pytest.approx(0.5)
    assert expected.distribution == pytest.approx((0, 0, 0, 0.2, 0.6, 0.2))


def test_scores_begin_at_low() -> None:
    expected = expected_score([math.log(0.25), math.log(0.75)], 1, 2)
    assert expected is not None
    assert expected.score == pytest.approx(1.75)


def test_vanishing_probabilities_keep_their_ratio() -> None:
    expected = expected_score([-5000.0, -5000.0 + math.log(3)], 0, 1)
    assert expected is not None
    assert expected.score == pytest.approx(0.75)
    assert expected.mass == 0


def test_no_distribution() -> None:
    assert expected_score([-INF, -INF], 0, 1) is None
    assert expected_score([math.nan, -1.0], 0, 1) is None


def test_one_log_probability_a_score() -> None:
    with pytest.raises(ValueError, match="5 log-probabilities for the scores 0 to 5"):
        expected_score([-1.0] * 5, 0, 5)


@given(st.lists(st.floats(-1e4, 0), min_size=6, max_size=6))
def test_expected_score_stays_in_range(logprobs: list[float]) -> None:
    expected = expected_score(logprobs, 0, 5)
    assert expected is not None
    assert 0 <= expected.score <= 5
    assert 0 <= expected.mass <= 1
    assert math.fsum(expected.distribution) == pytest.approx(1)


BAD = Unscored(UnscoredReason.NO_VERDICT, "well")


def test_mean_of_the_readable() -> None:
    assert mean_verdict([Scored(3), Scored(4), Scored(5)]) == Scored(4)
    assert mean_verdict([Scored(2), BAD, Scored(5)]) == Scored(3.5)


def test_exactly_the_share_is_enough() -> None:
    assert mean_verdict([Scored(2), BAD], 0.5) == Scored(2)
    too_few = Unscored(UnscoredReason.TOO_FEW_READABLE, "well\n\nwell")
    assert mean_verdict([Scored(2), BAD, BAD], 0.5) == too_few
    assert mean_verdict([Scored(2), BAD, BAD], 0.3) == Scored(2)


def test_none_readable_is_never_a_number() -> None:
    assert mean_verdict([BAD, BAD], 0) == Unscored(UnscoredReason.TOO_FEW_READABLE, "well\n\nwell")
    assert mean_verdict([BAD], 0) == BAD
    assert mean_verdict([], 0) == Unscored(UnscoredReason.TOO_FEW_READABLE)
