"""``iterdpo COMMAND``: the run, the plan, and every tool that looks at what runs made.

Without a command it is the run, as ``python -m iterdpo`` is. Exit status: 0 done; 1 a bug, or a job
of a sweep failed; 2 something the user can put right; 3 a run-time check failed; 130 and 143
stopped by SIGINT and SIGTERM.
"""

from __future__ import annotations

import importlib
import sys
from types import MappingProxyType
from typing import Final

from iterdpo import __version__
from iterdpo.runtime.terminal import run_tool, say

TOOLS: Final = MappingProxyType(
    {
        "report": ("tools.report", "write the page of a run, or one that compares several"),
        "compare": ("tools.compare", "what two models answer, side by side"),
        "chat": ("tools.chat", "talk to any model of a run"),
        "label": ("tools.label", "let people compare answers"),
        "bench": ("tools.benchmark", "AlpacaEval, Arena-Hard, MT-Bench, lm-evaluation-harness"),
        "hub": ("tools.hub", "upload a run's best adapter and its pairs"),
        "export": ("tools.export", "a model as a plain checkpoint"),
        "judge-check": ("tools.judge_check", "how right is a judge, on answers in a known order?"),
        "canary": ("tools.canary", "does a server really apply an adapter?"),
        "store": ("tools.store", "look into the store, and clear it up"),
    }
)
"""The package of each tool's command line, and what it does."""

USAGE: Final = "\n".join(
    (
        "usage: iterdpo [run] [KEY=VALUE ...]     run the loop; --help lists every setting",
        "       iterdpo plan [KEY=VALUE ...]      what a run would compute, and why",
        "       iterdpo --version                 of iterdpo and of what computes results",
        *(f"       iterdpo {name + ' ...':<26} {does}" for name, (_, does) in TOOLS.items()),
    )
)


def main() -> None:
    """Do what the command line says; Ctrl-C ends it in a line from its first second on."""
    command, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("run", [])
    if command in TOOLS:
        sys.exit(importlib.import_module(f"iterdpo.{TOOLS[command][0]}.__main__").main(rest))
    if command == "help":
        sys.exit(run_tool("iterdpo", lambda: print(USAGE)))
    if command == "--version":
        sys.exit(run_tool("iterdpo", _print_versions))
    if command == "plan":
        rest.append("plan=true")
    if command in ("run", "plan"):
        sys.argv[1:] = rest
    try:
        from iterdpo.cli.run import run

        run()
    except KeyboardInterrupt:  # before a run listens for it
        say("iterdpo: stopped by SIGINT; run the same command again to resume")
        sys.exit(130)


def _print_versions() -> None:
    from iterdpo.assemble import library_versions

    for name, version in {"iterdpo": __version__, **library_versions()}.items():
        print(name, version)
