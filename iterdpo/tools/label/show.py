"""A label result for a person at the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from iterdpo.runtime.formatting import count, number, percent, percent_interval


def lines_of(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the result line by line."""
    people = ", ".join(f"{name} ({count})" for name, count in result["annotators"].items())
    yield f"{result['run']}: {result['items']} items, labeled by {people}"
    yield (
        f"{result['first']} against {result['second']}: {result['wins']} wins, "
        f"{result['ties']} ties, {result['losses']} losses, {result['skips']} skips, "
        f"{number(result['median_seconds'], 1)} s each (median)"
    )
    what = "human win rate" if result["kind"] == "models" else "preference"
    if result["kind"] != "candidates":  # there, which of the two is first means nothing
        yield f"{what} of {result['first']}: {estimate(result['preference'])}, ties one half"
        if result["identical_share"]:
            yield (
                f"  {percent(result['identical_share'])} of the pairs are the same text and were "
                f"not shown; with them as ties: {percent(result['preference_with_identical'])}"
            )
    if result["self_judge"]:
        yield f"people agree with the run's judge: {estimate(result['self_judge'])}"
    for item in result.get("corrected", ()):
        yield from _corrected(item)
    if between := result["between_people"]:
        yield (
            f"people agree with each other on {percent(between['raw'])} of "
            f"{between['items']} items; Krippendorff's alpha "
            f"{number(between['krippendorff_alpha'])}"
            + (
                f", Cohen's kappa {number(between['cohen_kappa'])}"
                if between["cohen_kappa"] is not None
                else ""
            )
        )


def _corrected(item: Mapping[str, Any]) -> Iterator[str]:
    found = item["correction"]
    yield (
        f"win rate of {item['model']} against {item['opponent']} by {item['judge']}: "
        f"{estimate(found['judged'])}; without its errors: "
        + (
            estimate(found["corrected"])
            if found["corrected"]
            else "not estimable, the labels do not show that it is better than chance"
        )
    )
    yield (
        f"  its sensitivity {estimate(found['sensitivity'])}, "
        f"specificity {estimate(found['specificity'])}"
    )


def estimate(value: Mapping[str, Any] | None) -> str:
    """Return ``63.0 % (52.1 … 73.9 %, 80 prompts)``."""
    if value is None:
        return "nothing was compared"
    mean, prompts = percent(value["mean"], 1), count(value["clusters"], "prompt")
    if value["low"] is None:
        return f"{mean} ({prompts}: too few for an interval)"
    return f"{mean} ({percent_interval((value['low'], value['high']), 1)}, {prompts})"
