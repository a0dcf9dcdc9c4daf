"""A run's result comes back from its file as it was written, or a line says why it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from iterdpo import __version__
from iterdpo.engines.canary import CanaryResult
from iterdpo.errors import UserError
from iterdpo.evaluation.gains import Gains
from iterdpo.evaluation.health import Alarm
from iterdpo.evaluation.ratings import Rating
from iterdpo.evaluation.summary import SUMMARY_VERSION, EarlyStop, Summary
from iterdpo.evaluation.summary_file import SUMMARY_FILE, read_summary, write_summary
from tests import summaries
from tests.damage import damaged_json
from tests.summaries import estimate


def whole() -> Summary:
    """A summary with something in every part."""
    gains = Gains(estimate(0.5), estimate(0.25, None), None)
    models = [
        summaries.model(0, measured=summaries.evaluation(3.0, {"p": [3.0, 2], "q": [4]})),
        summaries.model(1, None, gains),
    ]
    return summaries.summary(
        models,
        iterations=(summaries.iteration(1), summaries.iteration(2, training=None)),
        comparisons=(summaries.comparison(),),
        against_baselines=(summaries.comparison(baseline="greedy"),),
        ratings=(Rating("M0", 0.0, None, None),),
        temperature_baselines=(summaries.baseline(0.7, 3.0, False), summaries.baseline(0.4, 3.5)),
        alarms=(Alarm(1, "max_tie_rate", 0.5, 0.25, "M1: too many ties"),),
        stopped=EarlyStop(1, "stopped"),
        canaries={"ab": CanaryResult("applied", 16, 0, 0.5, 0.1, 0.4, 1e-6)},
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_summary(whole(), tmp_path)
    assert read_summary(tmp_path) == whole()


def test_who_asks_for_a_part_gets_it() -> None:
    summary = whole()
    met = summary.comparison("M1", "M0")
    assert met is summary.comparisons[0]
    assert summary.comparison("M0", "M1") is None
    assert (met.opponent_name, summary.against_baselines[0].opponent_name) == ("M0", "M0, greedy")
    assert [summary.iteration(number) for number in (0, 2)] == [None, summary.iterations[1]]
    assert summary.strongest_baseline is summary.temperature_baselines[1].result
    assert replace(summary, temperature_baselines=()).strongest_baseline is None
    assert summary.alarms_of(0) == ()
    assert summary.alarms_of(1) == summary.alarms


def other_version(values: Any) -> None:
    values["version"] = SUMMARY_VERSION + 1
    values["iterdpo"] = "9.9"


def unknown_field(values: Any) -> None:
    values["models"][0]["evaluation"]["quality"]["unheard_of"] = 1


def missing_field(values: Any) -> None:
    del values["iterations"][0]["pairs"]["quality"]["margin_mean"]


def text_for_a_number(values: Any) -> None:
    values["models"][1]["gains"]["over_initial"]["mean"] = "0.25"


def no_models(values: Any) -> None:
    values["models"] = []


def unknown_best(values: Any) -> None:
    values["best"]["model"] = "M9"


def unknown_parent(values: Any) -> None:
    values["models"][1]["parent"] = "M9"


def same_name(values: Any) -> None:
    values["models"][1]["name"] = "M0"


def other_number(values: Any) -> None:
    values["iterations"][0]["iteration"] = 7


def no_address(values: Any) -> None:
    values["models"][0]["stages"]["policy"] = "base"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_version, "written by iterdpo 9.9 in version 3 of its form, and iterdpo "
                        f"{__version__} reads version 2; run the same command again"),
        (unknown_field, "models.0.evaluation.quality.unheard_of: unexpected keyword argument "
                        "(written by iterdpo 0.1.0); run the same command again"),
        (missing_field, "iterations.0.pairs.quality.margin_mean: field required (written by"),
        (no_models, "best.model: there is no model M1 (written by iterdpo 0.1.0)"),
        (unknown_best, "best.model: there is no model M9 (written by"),
        (unknown_parent, "models.1.parent: there is no model M9 before it (written by"),
        (same_name, "models.1.name: M0 is there twice (written by"),
        (other_number, "iterations.0.iteration: must be 1 (written by"),
        (no_address, "models.0.stages.policy: string should match pattern"),
        (text_for_a_number, "models.1.gains.over_initial.mean: input should be a valid number"),
    ],
)  # fmt: skip
def test_another_form_is_a_line_with_the_place_and_who_wrote_it(
    tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    write_summary(whole(), tmp_path)
    values = json.loads((tmp_path / SUMMARY_FILE).read_text())
    change(values)
    (tmp_path / SUMMARY_FILE).write_text(json.dumps(values))
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / SUMMARY_FILE}: {said}")) as caught:
        read_summary(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON; run the same command again"),
        ("{}", "names no version, so an earlier iterdpo or another program wrote it"),
        ('{"models": [], "iterations": []}', "names no version"),
        ("[]", "names no version"),
        ("[" * 100_000, "is not JSON"),
        (f'{{"version": 1, "iterdpo": "{"9" * 10_000}"}}', f"written by iterdpo {'9' * 40} in"),
        ('{"version": "a\\nb", "iterdpo": "c\\u2028d"}', "by iterdpo c d in version a b of"),
        (f'{{"version": {SUMMARY_VERSION}}}', "(written by iterdpo of an unknown version)"),
    ],
)
def test_what_is_no_summary_is_a_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / SUMMARY_FILE).write_text(text)
    with pytest.raises(UserError, match=re.escape(said)):
        read_summary(tmp_path)


@given(damaged_json(asdict(whole())))
def test_whatever_stands_in_its_place_is_a_summary_or_a_line(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    place, said = tmp_path_factory.getbasetemp(), ""
    (place / SUMMARY_FILE).write_bytes(raw)
    try:
        summary = read_summary(place)
        write_summary(summary, place)
        assert read_summary(place) == summary
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
