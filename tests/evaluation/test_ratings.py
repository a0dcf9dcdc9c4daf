import math
from itertools import combinations

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from iterdpo.evaluation.ratings import POINTS, Contest, Rating, bradley_terry
from iterdpo.evaluation.resampling import win_rate_ci
from tests.narrowing import bounds, near


def contests(a: str, b: str, wins: int, losses: int, ties: int = 0) -> list[Contest]:
    outcomes = [1.0] * wins + [0.0] * losses + [0.5] * ties
    return [Contest(a, b, outcome, prompt) for prompt, outcome in enumerate(outcomes)]


def elo(odds: float) -> float:
    return 400 * math.log10(odds)


def test_two_models_by_hand() -> None:
    # 30 wins of 40 with one tie added: odds 30.5 to 10.5.
    first, second = bradley_terry(["M0", "M1"], contests("M1", "M0", 30, 10))
    assert first == Rating("M0", 0.0, 0.0, 0.0)
    assert second.rating == pytest.approx(elo(30.5 / 10.5))
    # Ties are half a win for each: 20 + 10 / 2 against 5 + 10 / 2, and the added one.
    tied = bradley_terry(["M0", "M1"], contests("M0", "M1", 5, 20, ties=10))[1]
    assert tied.rating == pytest.approx(elo(25.5 / 10.5))


def test_of_two_models_the_interval_is_the_win_rates() -> None:
    fights = contests("M0", "M1", 15, 30, ties=5)
    rating = bradley_terry(["M0", "M1"], fights, resamples=500, seed=7)[1]
    share = win_rate_ci({x.cluster: [x.preference] for x in fights}, resamples=500, seed=7)
    low, high = bounds(share)
    assert rating.high == pytest.approx(-elo(low / (1 - low)), abs=0.1)
    assert rating.low == pytest.approx(-elo(high / (1 - high)), abs=0.1)


def test_winning_everything_is_finite_and_leaves_doubt() -> None:
    rating = bradley_terry(["M0", "M1"], contests("M1", "M0", 100, 0))[1]
    assert rating.rating == pytest.approx(elo(100.5 / 0.5))
    assert rating.low == pytest.approx(elo(0.975 / 0.025), abs=40)  # Jeffreys: 0.9755 … 1
    assert rating.high is not None
    assert math.isfinite(rating.high)
    assert rating.high > rating.rating + 400


def test_a_chain_adds_up() -> None:
    # In a tree of contests every link is fitted alone.
    fights = contests("M1", "M0", 20, 10) + contests("M2", "M1", 12, 18)
    ratings = [x.rating for x in bradley_terry(["M0", "M1", "M2"], fights, resamples=50)]
    link = elo(20.5 / 10.5)
    assert ratings == pytest.approx([0, link, link + elo(12.5 / 18.5)])


def test_the_anchor_is_the_first_and_the_order_is_the_callers() -> None:
    fights = contests("M1", "M0", 20, 10) + contests("M2", "M1", 12, 18)
    base = {x.model: x.rating for x in bradley_terry(["M0", "M1", "M2"], fights, resamples=10)}
    other = bradley_terry(["M2", "M0", "M1"], fights, resamples=10)
    assert [x.model for x in other] == ["M2", "M0", "M1"]
    assert other[0].rating == 0
    assert [x.rating for x in other[1:]] == pytest.approx(
        [-base["M2"], base["M1"] - base["M2"]], abs=1e-6
    )


OUTCOME = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(st.lists(st.tuples(OUTCOME, OUTCOME, OUTCOME), min_size=2, max_size=12))
def test_ratings_are_the_likeliest_and_do_not_care_who_is_named_first(
    outcomes: list[tuple[float, float, float]],
) -> None:
    models = ["M0", "M1", "M2"]
    pairs = list(combinations(range(3), 2))
    fights = [
        Contest(models[i], models[j], share, prompt)
        for prompt, shares in enumerate(outcomes)
        for (i, j), share in zip(pairs, shares, strict=True)
    ]

    def loss(strengths: np.ndarray) -> float:
        s = [0.0, *strengths]
        total = 0.0
        for (i, j), shares in zip(pairs, zip(*outcomes, strict=True), strict=True):
            won, lost = sum(shares) + 0.5, len(shares) - sum(shares) + 0.5
            total += won * math.log1p(math.exp(s[j] - s[i]))
            total += lost * math.log1p(math.exp(s[i] - s[j]))
        return total

    best = scipy.optimize.minimize(loss, np.zeros(2), tol=1e-10).x
    ratings = bradley_terry(models, fights, resamples=20)
    assert [x.rating for x in ratings[1:]] == pytest.approx(POINTS * best, abs=0.05)
    turned = [Contest(x.b, x.a, 1 - x.preference, x.cluster) for x in fights]
    assert [x.rating for x in bradley_terry(models, turned, resamples=20)] == pytest.approx(
        [x.rating for x in ratings], abs=1e-4
    )


def test_intervals_cover_the_strengths() -> None:
    rng = np.random.default_rng(0)
    models, truth = ["M0", "M1", "M2", "M3"], np.array([0.0, 0.5, 1.0, 2.0])
    covered = np.zeros(3)
    for run in range(200):
        fights = [
            Contest(models[i], models[j], float(won), prompt)
            for i, j in combinations(range(4), 2)
            for prompt, won in enumerate(rng.random(60) < expit(truth[i] - truth[j]))
        ]
        ratings = bradley_terry(models, fights, resamples=400, seed=run)[1:]
        covered += [x.low <= POINTS * t <= x.high for x, t in zip(ratings, truth[1:], strict=True)]
    assert (covered >= 182).all()  # 91 %, two and a half standard errors below 95 %
    assert covered.sum() <= 588  # 98 % of 600


def test_copies_at_one_prompt_do_not_narrow() -> None:
    fights = contests("M1", "M0", 30, 20)
    assert bradley_terry(["M0", "M1"], fights * 5) == bradley_terry(["M0", "M1"], fights)


def test_a_seed_decides() -> None:
    fights = contests("M1", "M0", 30, 20)
    models = ["M0", "M1"]
    assert bradley_terry(models, fights, seed=1) == bradley_terry(models, fights, seed=1)
    assert bradley_terry(models, fights, seed=1) != bradley_terry(models, fights, seed=2)


def test_one_model_and_one_prompt() -> None:
    assert bradley_terry(["M0"], []) == (Rating("M0", 0.0, 0.0, 0.0),)
    first, second = bradley_terry(["M0", "M1"], [Contest("M1", "M0", 1.0, "p")])
    assert first == Rating("M0", 0.0, 0.0, 0.0)
    assert second == Rating("M1", near(elo(3)), None, None)  # 1.5 wins to 0.5


def test_no_common_scale() -> None:
    fights = contests("M1", "M0", 1, 1) + contests("M3", "M2", 1, 1)
    with pytest.raises(ValueError, match="from M0 to M2, M3: there is no common scale"):
        bradley_terry(["M0", "M1", "M2", "M3"], fights)
    with pytest.raises(ValueError, match="from M0 to M1"):
        bradley_terry(["M0", "M1"], [])


@pytest.mark.parametrize(
    ("models", "contest", "said"),
    [
        (["M0", "M1"], Contest("M0", "M7", 1.0, 0), "a contest of M0 and M7 among M0, M1"),
        (["M0", "M1"], Contest("M1", "M1", 1.0, 0), "a contest of M1 and M1"),
        (["M0", "M1"], Contest("M0", "M1", 1.5, 0), "a preference of 1.5"),
        (["M0", "M1"], Contest("M0", "M1", math.nan, 0), "a preference of nan"),
        (["M0", "M0"], Contest("M0", "M1", 1.0, 0), "named twice"),
        ([], Contest("M0", "M1", 1.0, 0), "no models"),
    ],
)
def test_bad_contests(models: list[str], contest: Contest, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bradley_terry(models, [contest])
