r"""The document as HTML: one file that asks for nothing and lets nothing but its own script run.

Two ways lead into the page. Texts of the document go through a template that escapes every value.
Data go as JSON into ``<script type="application/json">``, which the browser never runs, with every
``<`` written as ``\u003c``, so that no text can end the element; the script puts them on the page
with ``textContent`` alone. A content security policy forbids every request and every script but
the two whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from typing import Any

from iterdpo.runtime.terminal import harmless
from iterdpo.tools.report import charts, vega
from iterdpo.tools.report.document import Document

SCRIPTS = ("text.js", "charts.js", "diff.js", "pairs.js", "page.js")
_SURROGATE = re.compile("[\ud800-\udfff]")


def render(document: Document) -> str:
    """Return the whole page.

    Raises:
        RuntimeError: the charts' library could not be put together.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("iterdpo.tools.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: harmless(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    library, script, style = vega.bundle(), _script(), _read("style.css")
    for text in (library, script):
        if "</script" in text.lower() or "<!--" in text:
            raise RuntimeError("a script holds what would end its element")
    data = {
        "config": charts.config(),
        "charts": {
            chart.name: {"spec": chart.spec, "rows": chart.rows} for chart in document.charts
        },
        "pairs": document.pairs,
    }
    return environment.get_template("page.html").render(
        document=document,
        policy=policy([library, script], style),
        style=_trusted(style),
        library=_trusted(library),
        script=_trusted(script),
        data=_trusted(embedded(data)),
    )


def policy(scripts: list[str], style: str) -> str:
    """Return the content security policy of a page with just these scripts and this style."""
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(data: Any) -> str:
    """Return JSON that can stand inside a ``<script>`` element, whatever texts it holds.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _script() -> str:
    """Return the page's own script: its files in a scope of their own."""
    files = "\n".join(_read(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{files}}})();\n'


def _read(name: str) -> str:
    return resources.files("iterdpo.tools.report").joinpath("page", name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _trusted(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  # our own files, and JSON that cannot end its element
