"""The page on which people compare: one file without a server, that asks the network for nothing.

Texts of users and models travel as escaped JSON and are put into the page as text, never as HTML;
the policy in the page's head allows its own script and style, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from string import Template

from iterdpo.tools.label.annotations import EXPORT_FORMAT
from iterdpo.tools.label.task import LabelTask


def page_html(task: LabelTask) -> str:
    """Return the page of a task. What tells the sides apart is not in it."""
    room = files("iterdpo.tools.label")
    script, style, frame = (
        room.joinpath(name).read_text("utf-8") for name in ("page.js", "page.css", "page.html")
    )
    shown = {
        "task": task.hash,
        "format": EXPORT_FORMAT,
        "items": [[item.id, item.prompt, item.left, item.right] for item in task.items],
    }
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    )
    # One substitution: what is put in is not searched for places to put something in.
    return Template(frame).substitute(
        policy=policy, style=style, script=script, data=escaped_json(shown)
    )


def escaped_json(value: object) -> str:
    """Return JSON that stays data in an HTML document, whatever texts it holds."""
    escapes: dict[str, str | int | None] = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    return json.dumps(value, ensure_ascii=True).translate(str.maketrans(escapes))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
