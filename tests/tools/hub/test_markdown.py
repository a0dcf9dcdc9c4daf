"""Whatever a text holds, a CommonMark parser reads it back as text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from iterdpo.evaluation.table import table
from iterdpo.runtime.terminal import harmless
from iterdpo.tools.hub.markdown import code, escaped, fenced
from tests.tools.report.hostile import HOSTILE

# With raw HTML, tables and struck text, as the Hub has it.
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
LETTERS = st.sampled_from("\\`*_{}[]()<>#+-.!|~&$@:/=\"' \n\tab1é\u202e\x1b")
TEXTS = st.one_of(st.text(LETTERS, max_size=40), st.sampled_from(HOSTILE[:17]))


def tokens(source: str) -> Any:
    """Return the inline tokens of the only cell of a table's only row."""
    parsed = PARSER.parse(table(["head"], [[source]]))
    cells = [item for item in parsed if item.type == "inline"]
    assert len(cells) == 2, source
    return cells[1].children


@given(TEXTS)
def test_escaped_text_is_text_in_a_cell_a_heading_and_a_sentence(text: Any) -> None:
    shown = " ".join(harmless(text).split())
    inline = [tokens(escaped(text))]
    for frame in ("# {}", "A sentence: {}."):
        children = PARSER.parse(frame.format(f"x {escaped(text)} x"))[1].children
        inline.append(children)
    for number, children in enumerate(inline):
        assert {item.type for item in children} <= {"text", "text_special"}, text
        read = "".join(item.content for item in children)
        assert shown in read if number else read == shown


@given(TEXTS)
def test_a_code_span_holds_its_text_and_nothing_gets_out(text: Any) -> None:
    shown = " ".join(harmless(text).split())
    children = tokens(code(text))
    if not shown:
        assert [item.content for item in children] == ["(empty)"]
    else:
        assert [(item.type, item.content) for item in children] == [("code_inline", shown)]


@given(TEXTS)
def test_a_fence_holds_its_text_and_nothing_gets_out(text: Any) -> None:
    parsed = PARSER.parse(f"before\n\n{fenced(text, 'sh')}\n\nafter")
    assert [item.type for item in parsed if item.type in ("fence", "html_block")] == ["fence"]
    (block,) = [item for item in parsed if item.type == "fence"]
    assert block.info == "sh"
    assert block.content.rstrip("\n") == harmless(text).rstrip("\n").replace("\r", "\n")
    assert parsed[-2].content == "after"


@pytest.mark.parametrize(
    ("text", "span"),
    [("a|b", "`a|b`"), ("`", "`` ` ``"), ("a ``b", "``` a ``b ```"), ("plain", "`plain`")],
)
def test_spans_as_written(text: str, span: str) -> None:
    assert code(text) == span
