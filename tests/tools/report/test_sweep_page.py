"""Given only the page of a sweep that it has not seen, a reader names the best beta, its interval,
and one wrongly labeled pair and why.
"""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from statistics import fmean

import pytest
from scipy import stats

from iterdpo.tools.report.write import write
from tests.tools.report.made_runs import MadeRun, Planted
from tests.tools.report.reading import read, wrong_pairs

PROMPTS = [f"prompt {i}" for i in range(40)]
MISTAKE = Planted("name two colors in alphabetical order", "red gold", "gold red", 4.25, 2.5)
RIGHT = [
    Planted("name two colors in alphabetical order", "gold red", "red gold"),
    Planted("name two tools", "saw axe", "saw"),
]


Drawn = tuple[Path, float, dict[float, list[dict[str, list[float]]]]]


@pytest.fixture(scope="module", params=[0, 1])
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """A sweep in which the best beta is drawn: (its directory, the best beta, scores by beta)."""
    draw = random.Random(request.param)
    place = tmp_path_factory.mktemp("sweep")
    betas = [0.03, 0.1, 0.4]
    best = draw.choice(betas)
    scores: dict[float, list[dict[str, list[float]]]] = {beta: [] for beta in betas}
    for number, (beta, seed) in enumerate((b, s) for b in betas for s in (0, 1)):
        start = {p: [draw.choice([1.0, 2.0, 3.0]) for _ in range(4)] for p in PROMPTS}
        gain = 1.0 if beta == best else draw.choice([0.3, 0.5])
        last = {p: [s + gain + draw.choice([-0.2, 0.0, 0.2]) for s in start[p]] for p in PROMPTS}
        scores[beta].append(last)
        planted = [MISTAKE, *RIGHT] if number == 3 else RIGHT
        MadeRun(
            place / "runs" / str(number), place / "store" / str(number),
            [f"training.beta={beta}", f"seed={seed}"], [planted], [start, last],
        ).write()  # fmt: skip
    return place / "runs", best, scores


def clustered(runs: list[dict[str, list[float]]]) -> tuple[float, float, float]:
    """Return mean, low and high over all runs' values, a cluster a prompt, written out again."""
    clusters = [[x for run in runs for x in run[p]] for p in PROMPTS]
    values = [x for cluster in clusters for x in cluster]
    mean = fmean(values)
    sums = [sum(x - mean for x in cluster) for cluster in clusters]
    error = math.sqrt(len(sums) / (len(sums) - 1) * sum(s * s for s in sums)) / len(values)
    half = float(stats.t.ppf(0.975, len(sums) - 1)) * error
    return mean, mean - half, mean + half


def test_a_reader_names_the_best_beta_its_interval_and_a_wrong_label(sweep: Drawn) -> None:
    directory, best, scores = sweep
    page = read(write([directory]))
    number = r"([+−]?\d\.\d{3})"
    found = re.search(
        rf"training\.beta=(\S+) is best: quality {number} \({number} … {number}\) at M1", page.text
    )
    assert found
    assert float(found[1]) == best
    assert [float(x) for x in found.groups()[1:]] == pytest.approx(
        clustered(scores[best]), abs=6e-4
    )

    wrong = wrong_pairs(page.data)
    assert len(wrong) == 1
    assert (wrong[0]["prompt"], wrong[0]["chosen"]) == (MISTAKE.prompt, MISTAKE.chosen)
    assert wrong[0]["oracle"] == [4, 5]
    assert wrong[0]["why"] == (
        "The judge gave the chosen answer 4.25 and the rejected one 2.50; the oracle gives them 4 "
        "and 5. The chosen answer misses the point order, the rejected one nothing."
    )
    top = page.text.partition("By training.beta")[2].partition("Quality against")[0]
    # The page's top, from its navigation to the first section.
    for said in ("1 of 13 labels are wrong", MISTAKE.chosen, MISTAKE.rejected, wrong[0]["why"]):
        assert said in top
    assert ("a", f"#pair-{wrong[0]['id']}") in [(t, a.get("href")) for t, a in page.tags]


def test_the_wrong_label_at_the_top_is_the_best_setting_s_widest(tmp_path: Path) -> None:
    surer = Planted(MISTAKE.prompt, MISTAKE.chosen, MISTAKE.rejected, 4.75, 2.5)
    surest = Planted(MISTAKE.prompt, MISTAKE.chosen, MISTAKE.rejected, 5.0, 1.0)
    for number, (made, last) in enumerate((([MISTAKE, surer], 4.0), ([surest], 3.0))):
        MadeRun(tmp_path / "s" / str(number), tmp_path / "store" / str(number),
                [f"training.beta=0.{number + 1}"], [made],
                [{p: [2.0] for p in PROMPTS}, {p: [last] for p in PROMPTS}]).write()  # fmt: skip
    text = read(write([tmp_path / "s"])).text
    assert "the judge was surest among those of training.beta=0.1, for M1." in text
    assert "The judge gave the chosen answer 4.75" in text


def test_the_page_says_whether_the_best_differs_from_the_next(sweep: Drawn) -> None:
    directory, best, scores = sweep
    text = read(write([directory])).text
    order = sorted(scores, key=lambda beta: -clustered(scores[beta])[0])
    gaps = [
        {p: [fmean(a[p]) - fmean(b[p])] for p in PROMPTS}
        for a, b in zip(scores[best], scores[order[1]], strict=True)
    ]
    mean, low, _ = clustered(gaps)
    verb = "differs" if low > 0 else "does not differ"
    assert f"It {verb} significantly from the next, training.beta={order[1]:g}: {mean:+.3f}" in text
    leads = [fmean(x for own in seed.values() for x in own) for seed in gaps]
    said = ", ".join(f"{lead:+.3f}".replace("-", "−") for lead in leads)
    assert f"Ahead at {sum(lead > 0 for lead in leads)} of 2 seeds: {said}." in text


def test_only_what_differs_is_listed_and_every_run_has_its_command(sweep: Drawn) -> None:
    directory, _, _ = sweep
    page = read(write([directory]))
    assert "python -m iterdpo iterations=1 training.beta=0.1 seed=1" in page.text
    assert "run training.beta seed store.root last model" in page.text
    assert "training.learning_rate" not in page.text
    # The data of the chart are there too, in the order of the axis.
    rows = page.data["charts"]["settings"]["rows"]
    assert [row["setting"] for row in rows] == [0.03, 0.1, 0.4]


def test_settings_that_are_alike_are_not_called_different(tmp_path: Path) -> None:
    same = {p: [float(i % 3)] for i, p in enumerate(PROMPTS)}
    for number, beta in enumerate((0.1, 0.2)):
        MadeRun(tmp_path / "s" / str(number), tmp_path / "store" / str(number),
                [f"training.beta={beta}"], scores=[same, same]).write()  # fmt: skip
    text = read(write([tmp_path / "s"])).text
    assert "does not differ significantly from the next" in text
    assert "Of one training a setting, nothing says how another would come out." in text
    assert "behind at each seed" not in text


def test_runs_that_differ_in_their_seed_only_are_pooled(tmp_path: Path) -> None:
    for seed in (0, 1):
        scores = {p: [float((i + seed) % 3)] for i, p in enumerate(PROMPTS)}
        MadeRun(tmp_path / "s" / str(seed), tmp_path / "store" / str(seed),
                [f"seed={seed}"], scores=[scores, scores]).write()  # fmt: skip
    text = read(write([tmp_path / "s"])).text
    assert "All runs have the same settings but for their seeds: quality" in text
    means = [fmean([float((i + seed) % 3) for i in range(len(PROMPTS))]) for seed in (0, 1)]
    assert f"0: {means[0]:.3f}, 1: {means[1]:.3f}" in text, "what the interval does not hold"
    low, high, apart = min(means), max(means), abs(means[0] - means[1]) / math.sqrt(2)
    assert (
        f"The runs themselves lie from {low:.3f} to {high:.3f}, with a standard deviation of "
        f"{apart:.3f}."
    ) in text
    assert f"SD {apart:.3f}" in text
    assert "at M1 (2 runs, 40 prompts)" in text


def test_a_run_that_is_not_at_its_end_is_named_and_not_compared(tmp_path: Path) -> None:
    good = {p: [3.0 + i % 2] for i, p in enumerate(PROMPTS)}
    MadeRun(
        tmp_path / "s" / "0", tmp_path / "a", ["training.beta=0.1"], scores=[good, good]
    ).write()
    MadeRun(
        tmp_path / "s" / "1", tmp_path / "b", ["training.beta=0.2"], scores=[good, good]
    ).write()
    MadeRun(tmp_path / "s" / "2", tmp_path / "c", ["training.beta=0.3", "iterations=2"],
            scores=[good, {p: [5.0] for p in PROMPTS}]).write()  # fmt: skip
    text = read(write([tmp_path / "s"])).text
    assert "Not at their end, and so not compared: 2." in text
    assert "training.beta=0.3 is best" not in text


def test_runs_without_any_measure_are_shown_and_not_ranked(tmp_path: Path) -> None:
    for number, beta in enumerate((0.1, 0.2)):
        MadeRun(tmp_path / "s" / str(number), tmp_path / "store" / str(number),
                [f"training.beta={beta}", "evaluation.oracle=null", "evaluation.arbiter=initial"],
                [RIGHT], [{}, {}]).write()  # fmt: skip
    page = read(write([tmp_path / "s"]))
    assert "none can be called the best" in page.text
    assert page.data["pairs"]["labeled"] is False
    assert page.data["pairs"]["pairs"]["label"] == [None] * 4
