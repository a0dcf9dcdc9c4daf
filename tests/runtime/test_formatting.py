"""Numbers as people read them."""

import pytest

from iterdpo.runtime import formatting as figures
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
        (figures.estimate(estimate(-0.5, 0.25), 1, sign=True, scale=100), "−50.0 (−75.0 … −25.0)"),
        (figures.percent_interval((0.5, 0.75)), "50 … 75 %"),
        (figures.percent_interval((None, 0.5)), ""),
        (figures.percent_interval(None), ""),
        (figures.spread(3.0, None, None), "3.00"),
        (figures.spread(0.5, 0.25, 0.75, sign=True), "+0.50 ± 0.25"),
        (figures.spread_of(estimate(3.5, 0.25), 1), "3.5 ± 0.2"),
        (figures.spread_of(None), "–"),
        (figures.duration(12.34), "12.3 s"),
        (figures.duration(185), "3 min 05 s"),
        (figures.duration(7620), "2 h 07 min"),
        (figures.duration(3599.7), "1 h 00 min"),
        (figures.memory_size(3 * 2**29), "1.5 GiB"),
        (figures.memory_size(None), "–"),
        (figures.disk_size(0), "0 B"),
        (figures.disk_size(950), "950 B"),
        (figures.disk_size(1000), "1.0 kB"),
        (figures.disk_size(999_940), "999.9 kB"),
        (figures.disk_size(999_960), "1.0 MB"),
        (figures.disk_size(16_060_000_000), "16.1 GB"),
        (figures.disk_size(2_345_600_000_000_000), "2,345.6 TB"),
        (figures.listed(["a"]), "a"),
        (figures.listed(["a", "b", "c"]), "a, b and c"),
        (figures.listed([]), ""),
    ],
)
def test_figures(made: str, expected: str) -> None:
    assert made == expected
