"""What a page is made of, before it is HTML: sections of texts, tables, charts and code.

Texts and cells are plain text; whatever writes them out escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Row = Mapping[str, str | float | int | None]
"""One row of a chart's data."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell that is more than its text."""

    text: str
    mark: str = ""
    """A class of the style sheet, such as ``heat-7`` or ``best``."""
    note: str = ""
    """Second, smaller line: an interval, for instance."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column heads. The first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""
    texts: Sequence[int] = ()
    """Columns, beside the first, that hold text and not numbers."""
    kind: Literal["table"] = "table"

    def without_empty(self, empty: str) -> Table:
        """Return the table without the columns in which every row says ``empty``."""
        used = [
            i
            for i in range(len(self.columns))
            if i == 0 or any(row[i] != empty for row in self.rows)
        ]
        return replace(
            self,
            columns=[self.columns[i] for i in used],
            rows=[[row[i] for i in used] for row in self.rows],
            texts=[used.index(i) for i in self.texts if i in used],
        )


@dataclass(frozen=True, slots=True)
class Chart:
    """A Vega-Lite specification whose data are the rows named ``rows``."""

    name: str
    title: str
    caption: str
    """What is shown and, where there are intervals, what they are."""
    spec: Mapping[str, Any]
    rows: Sequence[Row]
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True, slots=True)
class ChartGroup:
    """Small charts side by side."""

    charts: Sequence[Chart]
    kind: Literal["group"] = "group"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. ``tone`` is ``plain``, ``quiet``, ``lead`` or ``warning``."""

    text: str
    tone: Literal["plain", "quiet", "lead", "warning"] = "plain"
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be copied."""

    text: str
    kind: Literal["code"] = "code"


@dataclass(frozen=True, slots=True)
class Browser:
    """Where the pairs are looked through; the script fills it."""

    kind: Literal["browser"] = "browser"


Part = Table | Chart | ChartGroup | Text | Code | Browser


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands under it."""

    id: str
    title: str
    parts: Sequence[Part]
    fold: bool = False
    """Closed until it is asked for."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure at the top of the page."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One pair whose label is wrong, for readers who look no further than the top of the page."""

    caption: str
    """How many there are, and which of them this is."""
    prompt: str
    chosen: str
    rejected: str
    why: str
    pair_id: str = ""
    """Where the page's browser has the pair, its id."""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole page."""

    title: str
    subtitle: str
    verdict: str
    """What came out, in a sentence or two."""
    facts: Sequence[Fact]
    sections: Sequence[Section]
    pairs: Mapping[str, Any] | None = None
    """What the browser of pairs holds; see ``iterdpo.tools.report.pairs``."""
    warnings: Sequence[str] = ()
    """What a reader must know before believing anything below."""
    state: str = ""
    """Where a run stands that is not at its end."""
    mistake: Mistake | None = None
    charts: Sequence[Chart] = field(init=False)

    def __post_init__(self) -> None:
        found: list[Chart] = []
        for section in self.sections:
            for part in section.parts:
                found += [part] if isinstance(part, Chart) else []
                found += part.charts if isinstance(part, ChartGroup) else []
        object.__setattr__(self, "charts", tuple(found))
