"""Numbers as people read them."""

import pytest

from iterdpo.tools.report import formatting as figures
from tests.summaries import estimate


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (figures.number(1234.5), "1,234.50"),
        (figures.number(-0.25, 1), "−0.2"),
        (figures.number(0.25, 2, sign=True), "+0.25"),
        (figures.number(None), "–"),
        (figures.percent(0.125, 1), "12.5 %"),
        (figures.count(1, "pair"), "1 pair"),
        (figures.count(1200, "pair"), "1,200 pairs"),
        (figures.interval(1, 2), "1.00 … 2.00"),
        (figures.interval(None, 2), ""),
        (figures.estimate(estimate(1.0, 0.5)), "1.00 (0.50 … 1.50)"),
        (figures.estimate(estimate(1.0, None)), "1.00"),
        (figures.estimate(None), "–"),
        (figures.duration(12.34), "12.3 s"),
        (figures.duration(185), "3 min 05 s"),
        (figures.duration(7620), "2 h 07 min"),
        (figures.duration(3599.7), "1 h 00 min"),
        (figures.listed(["a"]), "a"),
        (figures.listed(["a", "b", "c"]), "a, b and c"),
        (figures.listed([]), ""),
    ],
)
def test_figures(made: str, expected: str) -> None:
    assert made.replace("\N{NO-BREAK SPACE}", " ") == expected
