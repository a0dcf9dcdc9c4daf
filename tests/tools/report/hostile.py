"""Texts that a model could write and that must change nothing but what is read."""

from __future__ import annotations

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "<!--<script>",
    "]]><img src=x onerror='window.hacked = 3'>",
    "</textarea></style></title><svg onload=window.hacked=4>",
    "[click](javascript:window.hacked=5) javascript:alert(1)",
    "{{ 7 * 7 }} {% raw %} ${7*7} #{7*7}",
    "&lt;b&gt; &amp; &#60;",
    "\x00\x01\x07\x1b[31mred\x1b[0m\x7f\x9b binary",
    "\u202egnirts \u2066turned\u2069 \ufeff",
    "\ud800 lone \udfff surrogates",
    "\u2028line\u2029separator",
    '=HYPERLINK("http://x") +1 -1 @SUM',
    "__proto__ constructor toString",
    '\'"`\\ \\u003c \\" //',
    "日本語 😀 👩‍👩‍👧 ñ e\u0301 العربية",
    "",
    "   \n\n\t  ",
    "word " * 20_000,
    "x" * 60_000,
)

STORABLE = tuple(text for text in HOSTILE if not any("\ud800" <= c <= "\udfff" for c in text))
"""Those that are valid Unicode: nothing else can be written to a table."""
