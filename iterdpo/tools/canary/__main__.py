"""``python -m iterdpo.canary BASE ADAPTER URL --name LORA``: does that server apply the adapter?

Exit status: 0 it does; 1 it does not; 2 something to put right first; 3 these texts do not tell.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iterdpo.errors import UserError
from iterdpo.runtime.terminal import harmless, run_tool

if TYPE_CHECKING:
    from iterdpo.tools.canary.verdict import ServedVerdict

NOT_APPLIED, INCONCLUSIVE = 1, 3
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit status."""
    arguments = parser().parse_args(argv)
    return run_tool("iterdpo.canary", lambda: _run(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.canary",
        description="Say whether a server really applies an adapter: it writes texts, and the base "
        "with and without the adapter scores them here. Exit status: 0 it applies it, 1 it does "
        "not, 2 something is to be put right first, 3 these texts do not tell.",
    )
    made.add_argument("base", metavar="BASE", help="the checkpoint: a directory or a hub id")
    made.add_argument("adapter", type=Path, metavar="ADAPTER",
                      help="the adapter's directory, in PEFT's layout")  # fmt: skip
    made.add_argument("url", metavar="URL",
                      help="an OpenAI-compatible server: http://localhost:8000/v1")  # fmt: skip
    made.add_argument("--name", required=True, metavar="LORA",
                      help="what the server calls the adapter")  # fmt: skip
    made.add_argument("--texts", type=_count, default=64, metavar="N",
                      help="how many texts it writes (default: %(default)s)")  # fmt: skip
    made.add_argument("--max-tokens", type=_count, default=256, metavar="N",
                      help="longest text (default: %(default)s)")  # fmt: skip
    made.add_argument("--prompts", type=Path, metavar="FILE",
                      help="prompts: JSONL, JSON, CSV, Parquet, or text, one a line (default: "
                      "plain ones)")  # fmt: skip
    made.add_argument("--field", default="prompt", metavar="NAME",
                      help="column of FILE to read (default: %(default)s)")  # fmt: skip
    made.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32",
                      help="type to compute in here: float32 tells most, half types take half the "
                      "memory (default: %(default)s)")  # fmt: skip
    made.add_argument("--device", default="auto", metavar="D",
                      help="auto, cpu, cuda or cuda:N (default: %(default)s)")  # fmt: skip
    made.add_argument("--key-env", metavar="VARIABLE",
                      help="environment variable that holds the server's key")  # fmt: skip
    made.add_argument("--trust-remote-code", action="store_true",
                      help="run code that BASE brings")  # fmt: skip
    return made


def told(found: ServedVerdict, name: str) -> str:
    """Return a verdict in words: what it is, and the figures behind it."""
    heads = {
        "applied": f"applied: {name} is BASE with ADAPTER",
        "not applied": f"not applied: {name} answers as BASE does without ADAPTER",
        "mixed": f"not applied throughout: some of {name}'s texts are BASE's without ADAPTER",
        "another": f"not applied: {name} answers neither as BASE with ADAPTER nor as without it",
        "inconclusive": "inconclusive: ADAPTER moves these texts too little for the noise",
    }
    lines = [
        heads[found.outcome],
        f"share of ADAPTER's movement: {found.share:.3f} ± {1.96 * found.error:.3f} (95 %), 1 for "
        "all of it and 0 for none",
        f"{found.texts} texts, {found.tokens:,} tokens; ADAPTER moves a token by {found.moved:.2g} "
        f"nats, and {found.left:.2g} are left between server and here (root mean squares)",
    ]
    if found.outcome == "inconclusive":
        needed = found.texts_needed
        lines.append(
            f"{needed:,} texts like these would decide: --texts {needed}"
            if needed is not None
            else "no number of such texts would decide: compute in --dtype float32"
        )
    return "\n".join(lines)


def _run(arguments: argparse.Namespace) -> int:
    from iterdpo.tools.canary import check_server

    found = check_server(
        arguments.base,
        arguments.adapter,
        arguments.url,
        arguments.name,
        texts=arguments.texts,
        max_tokens=arguments.max_tokens,
        prompts=arguments.prompts,
        field=arguments.field,
        dtype=arguments.dtype,
        device=arguments.device,
        key=_key(arguments.key_env),
        trust_remote_code=arguments.trust_remote_code,
    )
    sys.stdout.write(f"{harmless(told(found, arguments.name))}\n")
    return {"applied": 0, "inconclusive": INCONCLUSIVE}.get(found.outcome, NOT_APPLIED)


def _key(variable: str | None) -> str | None:
    """Return the key that an environment variable holds.

    Raises:
        UserError: it is no such name, or holds no key. What it holds is not shown.
    """
    if variable is None:
        return None
    if not _VARIABLE.fullmatch(variable):
        raise UserError(
            "--key-env: is no name of an environment variable, in capital letters as in "
            "OPENAI_API_KEY; the key itself belongs into the variable"
        )
    key = os.environ.get(variable, "").strip()
    if not key or not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"--key-env={variable}: this environment variable holds no key; export it")
    return key


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
