"""``python -m iterdpo.sharing RUN --repo NAME``: adapters and pairs of a run to the Hub.

Exit status: 0 done; 2 something the user can put right: the same command resumes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from iterdpo.config.hub import HubConfig, Models, hub_problems
from iterdpo.config.secrets import argument_problems
from iterdpo.errors import UserError
from iterdpo.runs.directory import Run
from iterdpo.runtime.terminal import run_tool
from iterdpo.tools.hub.share import share, write_locally

DRY_RUN = "sharing"
"""Where a dry run writes by default, in the run's directory."""


def main(argv: Sequence[str] | None = None) -> int:
    """Share a run and return the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)

    def act() -> None:
        if secrets := argument_problems(given):
            raise UserError("; ".join(secrets))
        arguments = parser().parse_args(given)
        hub = HubConfig(
            push=True,
            repo=arguments.repo,
            private=not arguments.public,
            models=arguments.models,
            pairs=not arguments.no_pairs,
            endpoint=arguments.endpoint,
        )
        if problems := hub_problems(hub):
            raise UserError("; ".join(problems))
        run = Run.open(arguments.run)
        if arguments.dry_run is None:
            lines = share(run, hub)
        else:
            target = Path(arguments.dry_run or arguments.run / DRY_RUN)
            lines = [f"{write_locally(run, hub, target)}: nothing was uploaded"]
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    return run_tool("iterdpo.sharing", act)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.sharing",
        description="Upload a run's adapters and preference pairs to the Hugging Face Hub, with "
        "cards. An upload that was cut off resumes when the command is given again.",
        epilog="The login is huggingface_hub's: HF_TOKEN, or `hf auth login`.",
    )
    made.add_argument("run", type=Path, metavar="RUN", help="a run's directory")
    made.add_argument("--repo", required=True, metavar="NAME",
                      help="owner/name, or a name of your own; pairs go to NAME-pairs")  # fmt: skip
    made.add_argument("--models", choices=get_args(Models), default="best",
                      help="whose weights (default: %(default)s)")  # fmt: skip
    made.add_argument("--no-pairs", action="store_true", help="leave the preference pairs out")
    made.add_argument("--public", action="store_true",
                      help="for everybody; without it, repositories are private")  # fmt: skip
    made.add_argument("--endpoint", metavar="URL", help="another Hub (default: HF_ENDPOINT)")
    made.add_argument("--dry-run", nargs="?", const="", metavar="DIR",
                      help="upload nothing; write cards, pairs and the list of files to DIR "
                      f"(default: RUN/{DRY_RUN})")  # fmt: skip
    return made


if __name__ == "__main__":
    sys.exit(main())
