"""The wrongly labeled pair that stands at the top of the page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from iterdpo.runtime.formatting import count
from iterdpo.tools.report.document import Mistake
from iterdpo.tools.report.labels import why_wrong
from iterdpo.tools.report.pairs import Found, Shown

LONGEST = 300
"""Characters of each text; the pair browser has more."""


def mistake(
    found: Found, page: Mapping[str, Any] | None, runs: Collection[int] = (), whose: str = ""
) -> Mistake | None:
    """Return the wrong pair with the widest margin, or None where no label is known to be wrong.

    Args:
        found: all pairs.
        page: what the browser of pairs holds of them.
        runs: places of the runs whose pairs come before those of others.
        whose: what these runs are called.
    """
    wrong = [pair for pair in found.pairs if pair.wrong]
    if not wrong:
        return None
    near = [pair for pair in wrong if not set(found.sources[pair.source].runs).isdisjoint(runs)]
    pair = _widest_margin(near or wrong)
    of = f" among those of {whose}" if near and whose else ""
    return Mistake(
        f"{len(wrong):,} of {count(len(found.pairs), 'label')} are wrong: the oracle prefers the "
        f"rejected answer. This is the one of which the judge was surest{of}, for "
        f"M{found.sources[pair.source].iteration}.",
        _shortened(pair.prompt.text),
        _shortened(pair.chosen.candidate["text"]),
        _shortened(pair.rejected.candidate["text"]),
        _why(pair),
        pair.pair["id"] if page and pair.pair["id"] in page["pairs"]["id"] else "",
    )


def _widest_margin(pairs: Sequence[Shown]) -> Shown:
    return max(pairs, key=lambda pair: (pair.margin, pair.pair["id"]))


def _why(pair: Shown) -> str:
    assert pair.label
    return why_wrong(pair.label, pair.pair["chosen_score"], pair.pair["rejected_score"])


def _shortened(text: str) -> str:
    if not text.strip():
        return "(nothing)"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
