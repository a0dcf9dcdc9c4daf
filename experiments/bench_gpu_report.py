"""What ``bench_gpu.py`` measured, as lines, as JSON and as the marked part of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.page import replaced
from iterdpo.errors import UserError
from iterdpo.models.memory import GIB

BEGIN, END = "<!-- bench-gpu: begin -->", "<!-- bench-gpu: end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One stage as it was measured."""

    stage: str
    seconds: float
    tokens: int | None = None
    """Written or read; None where a stage has no tokens."""
    bound: float | None = None
    """Shortest seconds that the card's peaks allow; None where nothing is known of it."""
    peak: int | None = None
    """Bytes in use on the card, everybody's, at the most."""
    note: str = ""

    @property
    def line(self) -> str:
        """The stage in one line, for a terminal."""
        parts = [f"{self.stage}: {self.seconds:.1f} s"]
        if self.tokens is not None:
            parts.append(f"{self.tokens / self.seconds:,.0f} tokens/s")
        if self.bound is not None:
            parts.append(f"{100 * self.bound / self.seconds:.0f} % of the bound")
        if self.peak is not None:
            parts.append(f"{self.peak / GIB:.1f} GiB")
        return ", ".join([*parts, *([self.note] if self.note else [])])

    @property
    def cells(self) -> list[str]:
        """The stage as cells of the table, the bound's last."""
        rate = "–" if self.tokens is None else f"{self.tokens / self.seconds:,.0f}"
        peak = "–" if self.peak is None else f"{self.peak / GIB:.1f}"
        what = f"{self.stage} ({self.note})" if self.note else self.stage
        cells = [what, f"{self.seconds:.1f}", rate, peak]
        if self.bound is None:
            return [*cells, "–", "–"]
        most = "–" if self.tokens is None else f"{self.tokens / self.bound:,.0f}"
        return [*cells, most, f"{100 * self.bound / self.seconds:.0f} %"]


@dataclass(frozen=True, slots=True)
class Result:
    """One engine's run."""

    command: str
    engine: str
    model: str
    """The shape in words."""
    work: str
    """How much was written, judged and trained, in words."""
    card: str
    source: str | None
    """Where the card's peaks were published; None for a card that is not listed."""
    versions: Mapping[str, str]
    rows: list[Row]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read what ``write`` wrote.

        Raises:
            UserError: it is no such file.
        """
        try:
            values: dict[str, Any] = json.loads(path.read_text("utf-8"))
            rows = [Row(**row) for row in values.pop("rows")]
            return cls(**values, rows=rows)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"--from {path}: not written by --json: {error}") from None


def table(results: Sequence[Result]) -> str:
    """Return a table an engine, with what it ran with before it."""
    return "\n\n".join(_table(result) for result in results)


def _table(result: Result) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    about = f"`{result.command}` on {result.card}: {result.model}, {result.work}; {versions}."
    heads = ["stage", "seconds", "tokens/s", "peak GiB", "bound, tokens/s", "share of the bound"]
    if result.source is None:
        about += " The peaks of this card are not listed, so there is no bound."
        heads = heads[:4]
    else:
        about += f" Bounds by the card's published peaks ({result.source})."
    lines = [about, "", _line(heads), _line(["---"] * len(heads))]
    return "\n".join([*lines, *(_line(row.cells[: len(heads)]) for row in result.rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_page(page: Path, text: str) -> bool:
    """Put ``text`` between the marks of ``page``; say whether it has any."""
    before = page.read_text("utf-8") if page.is_file() else ""
    if not 0 <= before.find(BEGIN) < before.find(END):
        return False
    page.write_text(replaced(before, text, BEGIN, END), "utf-8")
    return True
