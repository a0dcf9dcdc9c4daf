"""The page in a browser: blind, safe, resumable; its export is what the import reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload

from iterdpo.tools.label.annotations import check_annotations, read_annotations
from iterdpo.tools.label.page import page_html
from iterdpo.tools.label.result import result_of
from iterdpo.tools.label.task import LabelTask
from tests.browser import Browser, Page
from tests.made_run import HOSTILE
from tests.tools.label.questions import question, task_of


@pytest.fixture
def task() -> LabelTask:
    questions = [question(n) for n in range(4)]
    return task_of([*questions, question(4, HOSTILE, "", HOSTILE)])


@pytest.fixture
def page(chromium: Browser, task: LabelTask, tmp_path: Path) -> Iterator[Page]:
    file = tmp_path / "label.html"
    file.write_text(page_html(task), "utf-8")
    page = chromium.page()
    show(page, file)
    yield page
    page.close()


def show(page: Page, file: Path) -> None:
    """Open the file, and wait until what was kept is there."""
    page.open(file)
    page.wait("document.getElementById('count').textContent")


def test_nothing_is_asked_for_and_nothing_is_wrong(page: Page) -> None:
    assert (page.errors, page.requests) == ([], [])


def test_hostile_texts_stay_text(page: Page, task: LabelTask) -> None:
    for item in task.items:
        assert page.run("document.getElementById('prompt').textContent") == item.prompt
        assert page.run("document.getElementById('left').textContent") == item.left
        page.press("1")
    assert page.run("document.title") == "Which answer is better?"
    assert page.run("document.querySelectorAll('img').length") == 0
    assert (page.errors, page.requests) == ([], [])


def test_the_policy_stops_what_it_does_not_know(page: Page) -> None:
    page.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"hit=1\">'), "
        "new Promise(go => document.querySelector('img').addEventListener('error', () => go()))"
    )
    page.run("document.head.append(Object.assign(document.createElement('script'), "
             "{textContent: 'hit = 1'}))")  # fmt: skip
    assert page.run("typeof hit") == "undefined"
    assert any("Content Security Policy" in error for error in page.errors)


def test_keys_label_and_the_export_is_what_the_import_reads(
    page: Page, task: LabelTask, tmp_path: Path
) -> None:
    assert page.text("#count") == "0 of 5"
    for key in ("1", "2", "0", "s"):
        page.press(key)
    assert page.text("#count") == "4 of 5"
    page.click("#export")
    page.wait(
        "document.getElementById('notice').textContent.includes('Write your name')"
    )  # and nothing is exported yet
    page.fill("#annotator", "Ann é")
    name, text = page.download("#export")
    assert name == f"labels-{task.hash[:8]}-Ann-é.json"
    file = tmp_path / "ann.json"
    file.write_text(text)
    annotations = read_annotations([file])
    check_annotations(annotations, task)
    assert annotations[0].annotator == "Ann é"
    chosen = [annotations[0].by_item[item.id].choice for item in task.items[:4]]
    assert chosen == ["left", "right", "tie", "skip"]
    assert all(0 <= annotation.seconds < 60 for annotation in annotations[0].by_item.values())
    first, second = task.items[0].first_is_left, not task.items[1].first_is_left
    result = result_of(task, annotations)
    assert (result["wins"], result["ties"], result["skips"]) == (first + second, 1, 1)


def test_buttons_label_too_and_the_end_is_said(page: Page, task: LabelTask) -> None:
    for choice in ("left", "tie", "right", "skip", "left"):
        page.click(f"[data-choice={choice}]")
    assert "4 compared, 1 skipped" in page.text("#done")
    assert page.run("document.querySelector('[data-choice=left]').disabled")
    page.press("1")  # nothing is left to label
    assert page.text("#count") == "5 of 5"


def test_undo_shows_the_item_again(page: Page, task: LabelTask) -> None:
    page.press("1")
    page.press("2")
    page.press("u")
    assert page.text("#count") == "1 of 5"
    assert page.run("document.getElementById('left').textContent") == task.items[1].left
    page.press("u")
    page.press("u")  # one more than there is
    assert page.text("#count") == "0 of 5"


def test_typing_a_name_labels_nothing(page: Page) -> None:
    page.run("document.getElementById('annotator').focus()")
    for key in ("s", "1", "u"):
        page.press(key)
    assert page.text("#count") == "0 of 5"
    assert page.run("document.getElementById('annotator').value") == "s1u"


def test_it_goes_on_where_it_was(page: Page, task: LabelTask, tmp_path: Path) -> None:
    page.fill("#annotator", "Ann")
    page.press("Enter")  # leaves the field
    page.press("1")
    page.press("0")
    show(page, tmp_path / "label.html")
    assert page.text("#count") == "2 of 5"
    assert "Resumed: 2 choices" in page.text("#notice")
    assert page.run("document.getElementById('annotator').value") == "Ann"
    page.press("u")
    assert page.text("#count") == "1 of 5"


def test_another_browser_goes_on_from_an_export(
    chromium: Browser, page: Page, task: LabelTask, tmp_path: Path
) -> None:
    page.fill("#annotator", "Ann")
    page.press("Enter")  # leaves the field
    page.press("1")
    page.press("2")
    _, text = page.download("#export")
    other = chromium.page()
    show(other, tmp_path / "label.html")
    assert other.text("#count") == "0 of 5"
    give(other, text)
    other.wait("document.getElementById('notice').textContent === 'Imported 2 choices.'")
    assert other.text("#count") == "2 of 5"
    assert json.loads(other.download("#export")[1])["items"] == json.loads(text)["items"]
    other.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no exported file"), ('{"format": "x"}', "of another page")],
)
def test_a_wrong_file_imports_nothing(page: Page, text: str, said: str) -> None:
    give(page, text)
    page.wait("document.getElementById('notice').textContent !== ''")
    assert said in page.text("#notice")
    assert page.text("#count") == "0 of 5"


def test_kept_nonsense_is_not_taken_over(page: Page, task: LabelTask, tmp_path: Path) -> None:
    for key, value in {
        "annotator": 3,
        "strange": {"choice": "left", "seconds": 1},
        task.items[0].id: {"choice": "both", "seconds": 1},
        task.items[1].id: None,
    }.items():
        page.run(f"new Promise(done => {{ indexedDB.open('iterdpo-label-{task.hash}').onsuccess ="
                 " ({target}) => { const all = target.result.transaction('kept', 'readwrite');"
                 f" all.objectStore('kept').put({json.dumps(value)}, {json.dumps(key)});"
                 " all.oncomplete = done } })")  # fmt: skip
    show(page, tmp_path / "label.html")
    assert page.text("#count") == "0 of 5"
    assert page.run("document.getElementById('annotator').value") == "3"
    assert page.errors == []


# What the browser asks the page before it leaves: true if nothing would be lost.
MAY_LEAVE = "dispatchEvent(new Event('beforeunload', {cancelable: true}))"


def test_the_browser_asks_before_it_leaves_a_choice_that_is_not_on_the_disk(page: Page) -> None:
    assert page.run(MAY_LEAVE)
    chosen = "document.querySelector('[data-choice=left]').click()"
    assert not page.run(f"{chosen}, {MAY_LEAVE}")
    page.wait(MAY_LEAVE)


def test_a_choice_outlives_the_browser(
    chromium: Browser, page: Page, task: LabelTask, tmp_path: Path
) -> None:
    first = chromium.page_with_profile(tmp_path / "profile")
    show(first, tmp_path / "label.html")
    first.press("1")
    first.press("2")
    first.wait(MAY_LEAVE)
    first.crash()
    second = chromium.page_with_profile(tmp_path / "profile")
    show(second, tmp_path / "label.html")
    assert second.text("#count") == "2 of 5"
    second.close()


def test_two_tabs_of_the_page_lose_nothing_of_each_other(page: Page, tmp_path: Path) -> None:
    other = Page(page.tab.context)
    show(other, tmp_path / "label.html")
    other.press("1")
    other.press("2")
    other.wait(MAY_LEAVE)
    page.press("0")  # on the first item, of whose mark it does not know
    page.wait(MAY_LEAVE)
    page.run("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait("document.getElementById('count').textContent === '2 of 5'")
    show(other, tmp_path / "label.html")
    assert other.text("#count") == "2 of 5"


def test_a_browser_that_keeps_nothing_says_so_and_exports(
    page: Page, task: LabelTask, tmp_path: Path
) -> None:
    page.tab.add_init_script("indexedDB.open = () => { throw new Error('not here'); };")
    show(page, tmp_path / "label.html")
    page.press("1")
    assert "keeps nothing" in page.text("#notice")
    assert not page.run(MAY_LEAVE)
    page.fill("#annotator", "Ann")
    assert len(json.loads(page.download("#export")[1])["items"]) == 1
    assert page.run(MAY_LEAVE)


def test_a_phone_needs_no_sideways_scrolling(chromium: Browser, page: Page, tmp_path: Path) -> None:
    phone = chromium.page(360, 740, device_scale_factor=2, is_mobile=True)
    show(phone, tmp_path / "label.html")
    assert phone.run("document.documentElement.scrollWidth <= innerWidth")
    boxes = phone.run("['one', 'two'].map(id => document.getElementById(id)"
                      ".getBoundingClientRect().top)")  # fmt: skip
    assert boxes[1] > boxes[0]  # one answer below the other
    phone.close()


def test_dark_is_dark(page: Page) -> None:
    light = page.run("getComputedStyle(document.body).backgroundColor")
    page.tab.emulate_media(color_scheme="dark")
    assert page.run("getComputedStyle(document.body).backgroundColor") != light


def give(page: Page, text: str) -> None:
    """Choose a file with ``text``."""
    file = FilePayload(name="x.json", mimeType="application/json", buffer=text.encode())
    page.tab.set_input_files("#file", file)
