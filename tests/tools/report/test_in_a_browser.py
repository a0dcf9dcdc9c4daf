"""The page as a person meets it: nothing is asked for, nothing fails, every control works."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iterdpo.tools.report.write import write
from tests import summaries
from tests.browser import Browser, Page
from tests.tools.report.hostile import STORABLE
from tests.tools.report.made_runs import MadeRun, Planted

MISTAKE = Planted("name two colors in alphabetical order", "red gold", "gold red", 4.25, 2.5)
FIRST = [
    MISTAKE,
    Planted("name two tools", "axe saw", "saw", 4.5, 1.0),
    Planted("name two drinks", "ale tea", "tea", 3.0, 2.75),
    *(Planted(f"name {n} fruits", "fig kiwi", "fig", 4.0, 2.0 + n / 100) for n in range(30)),
]
SECOND = [Planted("name two animals", "ant cat", "dog", 3.5, 3.0)]
SCORES = [{"p": [3.0], "q": [2.0]}, {"p": [4.0], "q": [3.0]}, {"p": [4.5], "q": [3.5]}]
BASELINES = {
    "temperature_baselines": tuple(
        summaries.baseline(temperature, 3.5, strongest=temperature < 0.5)
        for temperature in (0.7, 0.4)
    )
}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    made = MadeRun(place / "run", place / "store", [], [FIRST, SECOND], SCORES, BASELINES)
    return write([made.write()])


Opened = Callable[..., Page]


@pytest.fixture
def opened(chromium: Browser, page_file: Path) -> Iterator[Opened]:
    """A function that opens the page and checks at the end that all was quiet."""
    pages = []

    def get(width: int = 1280, height: int = 900, **options: str) -> Page:
        page = chromium.page(width, height, reduced_motion="reduce", **options)
        pages.append(page)
        page.open(page_file)
        # With every chart in its place: one that is drawn later moves what is clicked on.
        page.wait("document.documentElement.dataset.ready === 'all'")
        return page

    yield get
    for page in pages:
        assert page.errors == []
        assert [address for address in page.requests if not address.startswith("blob:")] == []
        page.close()


def test_every_chart_is_drawn_and_has_its_data(opened: Opened) -> None:
    page = opened()
    names = page.run("[...document.querySelectorAll('[data-chart]')].map(e => e.dataset.chart)")
    assert {"quality", "judge", "outcomes", "scores", "lengths", "training-loss", "seconds"} <= set(
        names
    )
    drawn = page.run(
        "[...document.querySelectorAll('[data-chart]')].map(e => e.querySelectorAll('svg').length)"
    )
    assert drawn == [1] * len(names)
    page.click("#figure-quality summary")
    page.wait("document.querySelector('#figure-quality tbody')")
    rows = page.texts("#figure-quality tbody tr")
    assert rows[0].split("\t") == ["M0", "sampled", "2.5", "2.3", "2.7"]
    assert page.texts(".failed") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_legend_is_cut_off_or_lies_over_a_title(opened: Opened, width: int) -> None:
    page = opened(width)
    entries = page.run(
        "[...document.querySelectorAll('.plot')].map(plot => {"
        "  const box = plot.getBoundingClientRect();"
        "  return [...plot.querySelectorAll('.role-legend-label text')].map(label => {"
        "    const its = label.getBoundingClientRect();"
        "    return [label.textContent, its.top >= box.top - 1, its.right <= box.right + 1];"
        "  });"
        "})"
    )
    found = [entry for plot in entries for entry in plot]
    assert {"adapter", "judgments", "lower temperature", "kept"} <= {name for name, _, _ in found}
    assert [entry for entry in found if entry[1:] != [True, True]] == []


def test_no_word_of_a_table_is_broken_on_a_phone(opened: Opened) -> None:
    page = opened(390)
    lines = page.run(
        "[...document.querySelectorAll('#training td.text')].map(cell => {"
        "  const range = document.createRange();"
        "  range.selectNodeContents(cell);"
        "  return [cell.textContent, range.getClientRects().length];"
        "})"
    )
    assert ["unchanged", 1] in lines
    assert {count for _, count in lines} == {1}


def test_the_wrong_label_at_the_top_leads_to_its_pair(opened: Opened) -> None:
    page = opened()
    page.choose("[name=label]", "right")
    page.click(".mistake a")
    page.wait("document.querySelector('.detail .why')")
    assert page.text(".count") == "1 of 34 pairs"
    assert "The judge gave the chosen answer 4.25" in page.text(".detail .why")
    assert page.run("document.querySelector('[name=label]').value") == ""


def test_a_charts_data_can_be_saved(opened: Opened) -> None:
    page = opened()
    page.click("#figure-outcomes summary")
    name, text = page.download("#figure-outcomes button")
    assert name == "outcomes.csv"
    lines = text.splitlines()
    assert lines[:3] == ["iteration,outcome,pairs,order", "for M1,kept,33,0", "for M1,tie,3,1"]


def test_pairs_are_paged(opened: Opened) -> None:
    page = opened()
    assert page.text(".count") == "34 pairs"
    assert len(page.texts(".pair")) == 20
    assert page.run("document.querySelector('[data-turn=\"-1\"]').disabled")
    page.click("[data-turn='1']")
    assert len(page.texts(".pair")) == 14
    assert "page 2 of 2" in page.text(".pager")


def test_pairs_are_filtered_by_iteration_label_and_margin(opened: Opened) -> None:
    page = opened()
    page.choose("[name=iteration]", "2")
    assert page.text(".count") == "1 of 34 pairs"
    page.choose("[name=iteration]", "")
    page.choose("[name=label]", "wrong")
    assert page.text(".count") == "1 of 34 pairs"
    assert "wrong label" in page.text(".pair")
    page.choose("[name=label]", "")
    page.fill("[name=least]", "3")
    page.wait("document.querySelector('.count').textContent === '1 of 34 pairs'")
    page.fill("[name=least]", "")
    page.fill("[name=most]", "0.3")
    page.wait("document.querySelector('.pair').textContent.includes('name two drinks')")


def test_pairs_are_searched_by_words_and_ids(opened: Opened) -> None:
    page = opened()
    page.fill("[name=search]", "GOLD colors")
    page.wait("document.querySelector('.count').textContent === '1 of 34 pairs'")
    identity = page.run("document.querySelector('.pair').dataset.pair")
    page.fill("[name=search]", identity[:8])
    page.wait("document.querySelector('.count').textContent === '1 of 34 pairs'")
    page.fill("[name=search]", "no such words")
    page.wait("document.querySelector('.count').textContent === '0 of 34 pairs'")
    assert page.texts(".pair") == []
    assert "page 1 of 1" in page.text(".pager")


def test_pairs_are_sorted(opened: Opened) -> None:
    page = opened()
    page.choose("[name=order]", "wide")
    assert "name two tools" in page.text(".pair")
    page.choose("[name=order]", "narrow")
    assert "name two drinks" in page.text(".pair")
    page.choose("[name=order]", "worst")
    assert "name two colors" in page.text(".pair")


def test_one_pair_shows_the_difference_the_scores_the_reason_and_the_lineage(
    opened: Opened,
) -> None:
    page = opened()
    page.choose("[name=label]", "wrong")
    page.click(".pair")
    assert page.run("document.querySelector('.pair').getAttribute('aria-expanded')") == "true"
    assert page.texts(".chosen-only") == ["red "] or page.texts(".chosen-only") == ["red"]
    assert page.texts(".rejected-only") == ["red"]
    assert "The chosen answer misses the point order" in page.text(".why")
    assert "judge 4.25 · oracle 4 (misses order) · 3 tokens" in page.text(".side.chosen")
    lineage = page.text(".lineage")
    assert "seed 7" in lineage
    assert "M0 (aaaaaaaaaaaaaaaa)" in lineage
    page.click(".pair")
    assert page.texts(".detail") == []


def test_a_pair_can_be_named_in_the_address(
    opened: Opened, page_file: Path, chromium: Browser
) -> None:
    identity = opened().run("document.querySelectorAll('.pair')[3].dataset.pair")
    page = chromium.page()
    page.open(f"{page_file.as_uri()}#pair-{identity}")
    page.wait("document.documentElement.dataset.ready")
    assert page.run("document.querySelector('.pair').dataset.pair") == identity
    assert len(page.texts(".detail")) == 1
    page.close()


def test_the_keyboard_is_enough(opened: Opened) -> None:
    page = opened()
    page.press("Tab")
    assert page.run("document.activeElement.className") == "skip"
    page.run("document.querySelector('[name=search]').focus()")
    for _ in range(6):
        page.press("Tab")
    assert page.run("document.activeElement.className") == "pair"
    page.press("Enter")
    assert len(page.texts(".detail")) == 1
    page.press(" ")
    assert page.texts(".detail") == []


def test_colors_follow_the_system_and_can_be_chosen(opened: Opened) -> None:
    page = opened(color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.run(background)
    page.click("#theme")
    light = page.run(background)
    assert light != dark
    assert page.text("#theme") == "Light"
    # The charts change with the page.
    label = "getComputedStyle(document.querySelector('.plot svg text')).fill"
    before = page.run(label)
    page.click("#theme")
    assert page.run(background) == dark
    assert page.run(label) != before


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_itself_never_scrolls_sideways(opened: Opened, width: int) -> None:
    page = opened(width, 844)
    page.click(".pair")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_the_navigation_stays_and_marks_where_the_reader_is(opened: Opened) -> None:
    page = opened()
    page.run("document.querySelector('#training').scrollIntoView({behavior: 'instant'})")
    page.wait("document.querySelector('[aria-current]')?.hash === '#training'")
    assert page.run("document.querySelector('nav').getBoundingClientRect().top") == 0


def test_paper_is_light_and_without_controls(opened: Opened) -> None:
    page = opened(color_scheme="dark")
    page.tab.emulate_media(media="print")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(253, 252, 250)"
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_hostile_texts_are_text(chromium: Browser, tmp_path: Path) -> None:
    planted = [Planted(f"{i} {text}", text, f"{text} other", raw=(text,))
               for i, text in enumerate(STORABLE)]  # fmt: skip
    run = MadeRun(tmp_path / "run", tmp_path / "store", [], [planted], SCORES[:2]).write()
    page = chromium.page()
    page.open(write([run]))
    page.wait("document.documentElement.dataset.ready === 'all'")
    for number in range(len(STORABLE)):
        page.run(f"document.querySelectorAll('.pair')[{number}].click()")
    assert len(page.texts(".detail")) == len(STORABLE)
    shown = page.run(
        "[...document.querySelectorAll('.side.chosen > .words')].map(e => e.textContent)"
    )
    for text, said in zip(STORABLE, shown, strict=True):
        if text.isprintable() and 0 < len(text) <= 20_000:
            assert said == text
    assert "\\u001b[31mred" in shown[8]
    assert "\\u202egnirts" in shown[9]
    assert "80,000 more characters are in the store" in shown[-2]
    assert page.run("window.hacked") is None
    assert page.run("document.querySelectorAll('img, svg[onload], iframe, object').length") == 0
    assert page.run("[...document.querySelectorAll('a')].every(a => a.hash)")
    assert page.errors == []
    assert page.requests == []
    page.close()


def test_hostile_settings_are_text(chromium: Browser, tmp_path: Path) -> None:
    name = "<img src=x onerror='window.hacked=1'>"
    for number in range(2):
        MadeRun(tmp_path / "s" / f"{number}{name.replace('/', '')}", tmp_path / f"store{number}",
                [f"model.name=\"{name} {number}\"", f"judge.system=\"{name} {number}\""],
                [FIRST], SCORES[:2]).write()  # fmt: skip
    page = chromium.page()
    page.open(write([tmp_path / "s"]))
    page.wait("document.documentElement.dataset.ready === 'all'")
    assert name in page.text("main")
    assert page.run("window.hacked") is None
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.errors == []
    page.close()


@pytest.mark.slow
def test_ten_thousand_pairs_open_in_time_and_stay_small(chromium: Browser, tmp_path: Path) -> None:
    planted = [
        Planted(f"pick three of lion ant fox horse bear without horse {i} , finish with bye",
                f"ant bear fox bye {i}", f"lion ant horse bear {i} enough", 4.1, 2.0)
        for i in range(5000)
    ]  # fmt: skip
    run = MadeRun(tmp_path / "run", tmp_path / "store", [], [planted, planted[::-1]], SCORES)
    file = write([run.write()])
    assert file.stat().st_size < 15e6
    page = chromium.page()
    session = page.tab.context.new_cdp_session(page.tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.open(file)
    page.wait("document.documentElement.dataset.ready")
    measured = session.send("Performance.getMetrics")["metrics"]
    # Seconds of its thread's own, which others on the machine do not lengthen; 0.35 were seen.
    (worked,) = (item["value"] for item in measured if item["name"] == "TaskDuration")
    assert 0 < worked < 3
    assert len(page.texts(".pair")) == 20  # what is not looked at is not in the document
    assert page.text(".count") == "10,000 pairs"
    page.close()


def test_what_does_not_fit_is_left_out_and_said(chromium: Browser, tmp_path: Path) -> None:
    planted = [Planted(f"question {i} " + "long " * 3000, f"good {i} " + "answer " * 2900,
                       f"bad {i} " + "answer " * 2900) for i in range(200)]  # fmt: skip
    wrong = Planted("name two colors in alphabetical order", "red gold", "gold red")
    run = MadeRun(tmp_path / "run", tmp_path / "store", [], [[*planted, wrong]], SCORES[:2]).write()
    file = write([run])
    assert file.stat().st_size < 15e6
    page = chromium.page()
    page.open(file)
    page.wait("document.documentElement.dataset.ready")
    about = page.text(".about")
    kept = len(
        json.loads(page.run("document.getElementById('data').textContent"))["pairs"]["pairs"]["id"]
    )
    assert 100 < kept < 201
    assert f"{kept} pairs are in this page" in about
    assert f"{201 - kept} were left out (0 of them wrong)" in about
    page.close()
