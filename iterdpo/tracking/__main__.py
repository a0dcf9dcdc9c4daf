"""``python -m iterdpo.tracking``: build the W&B workspace for a project's runs.

Exit status: 0 done; 2 something the user can put right.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from iterdpo.errors import UserError
from iterdpo.runtime.terminal import say
from iterdpo.tracking.wandb_environment import logged_in
from iterdpo.tracking.workspace import as_json, build


def main(argv: Sequence[str] | None = None) -> int:
    """Build the workspace, and send or show it; return the exit status."""
    arguments = parser().parse_args(argv)
    try:
        if not arguments.dry_run and not logged_in(os.environ):
            raise UserError("not logged in at W&B: run `wandb login`, or see it with --dry-run")
        workspace = build(arguments.entity, arguments.project, arguments.iterations)
        if arguments.dry_run:
            sys.stdout.write(as_json(workspace) + "\n")
        else:
            _save(workspace)
            sys.stdout.write(f"{workspace.url}\n")
    except UserError as error:
        say(f"iterdpo.tracking: {error}")
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.tracking",
        description="Build the W&B workspace that docs/tracking.md describes.",
    )
    made.add_argument("entity", help="W&B user or team that the project belongs to")
    made.add_argument("--project", default="iterdpo", help="W&B project (default: %(default)s)")
    made.add_argument("--iterations", type=_count, default=3, metavar="T",
                      help="draw the trainings of M1 to M<T> (default: %(default)s)")  # fmt: skip
    made.add_argument("--dry-run", action="store_true", help="print it as JSON and send nothing")
    return made


def _save(workspace: object) -> None:
    """Send the workspace.

    Raises:
        UserError: W&B did not take it.
    """
    try:
        workspace.save()  # type: ignore[attr-defined]
    except Exception as error:  # whatever W&B's libraries raise: none of it is ours
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"W&B did not take the workspace ({reason}); check entity, project and connection"
        ) from None


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
