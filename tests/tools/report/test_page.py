"""What goes into a page cannot get out of its place."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.tools.report import page, vega
from iterdpo.tools.report.document import Cell, Code, Document, Fact, Section, Table, Text
from tests.tools.report.hostile import HOSTILE
from tests.tools.report.reading import PageText

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200) | st.sampled_from(HOSTILE)


@pytest.fixture
def short_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of one line in the place of Vega."""
    monkeypatch.setattr(vega, "bundle", lambda: "window.vegaEmbed = () => {};")


def document(text: str) -> Document:
    table = Table(text, ["", text], [[text, Cell(text, note=text)]], text)
    section = Section("one", text, [Text(text), Code(text), table])
    return Document(text, text, text, [Fact(text, text, text)], [section],
                    pairs={"texts": [text]}, warnings=[text], state=text)  # fmt: skip


@given(ANY_TEXT)
def test_embedded_data_stay_inside_their_element_and_come_back(text: Any) -> None:
    made = page.embedded({"text": text, text: [text]})
    assert "<" not in made
    made.encode("utf-8")
    assert json.loads(made) == {"text": text, text: [text]}


@pytest.mark.parametrize(
    "text", [text for text in HOSTILE if text], ids=lambda text: ascii(text[:9])
)
def test_no_text_makes_an_element(short_library: None, text: str) -> None:
    harmless, hostile = (page.render(document(said)) for said in ("harmless", text))
    plain, found = PageText(harmless), PageText(hostile)
    # The same elements with the same attributes, but for the policy's hashes and the labels.
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
    assert [set(attributes) for _, attributes in found.tags] == [
        set(attributes) for _, attributes in plain.tags
    ]
    assert found.data["pairs"]["texts"] == [text]
    hostile.encode("utf-8")
    shown = [*found.pieces, *(str(value) for _, attributes in found.tags for value in attributes)]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(shown))


def test_the_policy_forbids_everything_but_the_pages_own_scripts_and_style(
    short_library: None,
) -> None:
    html = page.render(document("text"))
    policies = [
        attributes["content"]
        for _, attributes in PageText(html).tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    policy = policies[0] or ""
    rules = {name: values for name, *values in (rule.split() for rule in policy.split(";"))}
    assert rules["default-src"] == ["'none'"]
    assert rules["base-uri"] == rules["form-action"] == ["'none'"]
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert rules["script-src"] == [hash_of(text) for text in scripts]
    assert rules["style-src"] == [hash_of(text) for text in style]
    assert len(rules) == 5


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_a_library_that_could_end_its_element_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vega, "bundle", lambda: 'x = "</SCRIPT >"')
    with pytest.raises(RuntimeError, match="end its element"):
        page.render(document("text"))


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        page.embedded({"loss": float("nan")})


def test_the_bundle_is_vegas_and_can_stand_in_a_page() -> None:
    made = vega.bundle()
    assert "window.vegaEmbed" in made
    assert "</script" not in made.lower()
    assert 300_000 < len(made) < 2_000_000


def test_a_bundle_that_cannot_be_made_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vega, "_PRINT", "import sys; sys.exit('no such library')")
    with pytest.raises(RuntimeError, match=r"no bundle of Vega \(no such library\)"):
        vega.bundle.__wrapped__()
