"""The part of a page that a benchmark writes: what stands between two marks."""

from __future__ import annotations


def replaced(page: str, text: str, begin: str, end: str) -> str:
    """Return ``page`` with everything between the marks ``begin`` and ``end`` replaced."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"
