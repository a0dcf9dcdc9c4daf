"""What a reader finds in a page: its visible text, and the data embedded in it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class PageText(HTMLParser):
    """Collects the text outside of scripts and styles, and the JSON of the data element."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._inside = ""
        self._json: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style", "title"):
            self._inside = "json" if dict(attrs).get("id") == "data" else tag
            if tag == "script":
                self.scripts.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "title"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "json":
            self._json.append(data)
        elif not self._inside:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        """What is seen, on one line."""
        return re.sub(r"\s+", " ", " ".join(self.pieces))

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads("".join(self._json))
        return found


def read(page: Path) -> PageText:
    return PageText(page.read_text("utf-8"))


def wrong_pairs(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the page says of every pair whose label is wrong."""
    pairs, texts, answers = data["pairs"]["pairs"], data["pairs"]["texts"], data["pairs"]["answers"]
    return [
        {
            "id": pairs["id"][i],
            "prompt": texts[pairs["prompt"][i]],
            "chosen": texts[answers["text"][pairs["chosen"][i]]],
            "rejected": texts[answers["text"][pairs["rejected"][i]]],
            "oracle": pairs["oracle"][i],
            "why": pairs["why"][i],
        }
        for i, label in enumerate(pairs["label"])
        if label == "wrong"
    ]
