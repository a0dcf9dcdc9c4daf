"""``python -m iterdpo.store``: look into a store, and clear it up.

Exit status: 0 done; 1 something is damaged, disagrees or could not be deleted; 2 something the user
can put right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.runtime.progress import progress
from iterdpo.runtime.terminal import run_tool
from iterdpo.store.hash_cache import HashCache
from iterdpo.store.inventory import read_store
from iterdpo.tools.store import show, show_lineage
from iterdpo.tools.store.explain import explain
from iterdpo.tools.store.export import export
from iterdpo.tools.store.garbage import delete, find_garbage, in_use
from iterdpo.tools.store.integrity import files_to_check, problems
from iterdpo.tools.store.lineage import lineages

DEFAULT = Path("store")
"""As ``conf/store/local.yaml`` says."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = parser().parse_args(argv)
    return run_tool("iterdpo.store", lambda: arguments.command(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    # Also accepted after the command; there it must not reset what was given before.
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--store", type=Path, metavar="DIR", default=argparse.SUPPRESS,
                       help=f"the store (default: ./{DEFAULT})")  # fmt: skip
    top = argparse.ArgumentParser(
        prog="python -m iterdpo.store", description="Look into a store, and clear it up."
    )
    top.add_argument("--store", type=Path, metavar="DIR", default=DEFAULT,
                     help="the store (default: ./%(default)s)")  # fmt: skip
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: object, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[place], help=text, description=text)
        made.set_defaults(command=command)
        return made

    listing = add("list", _list, "list stages, unfinished work, leftovers and the runs")
    listing.add_argument("--stage", metavar="NAME", help="this stage only")
    add("verify", _verify, "compare every file with the hash its stage recorded; repairs nothing, "
        "and forgets remembered hashes")  # fmt: skip
    why = add("why", _explain, "say why a stage was computed instead of read")
    _stage_and_key(why)
    lineage = add("lineage", _lineage, "walk a pair back to its prompt, answers, judgments, seeds")
    lineage.add_argument("pair", metavar="PAIR_ID", help="id of the pair, or its beginning")
    lineage.add_argument("--json", action="store_true", help="for machines: all tokens and numbers")
    exporting = add(
        "export", _export,
        "write a stage's records to FILE.jsonl, FILE.parquet or a directory for datasets; an "
        "adapter to a directory for PEFT, all weights to one for transformers. Texts are as the "
        "store has them: no chat template",
    )  # fmt: skip
    _stage_and_key(exporting)
    exporting.add_argument("file", type=Path, metavar="FILE", help="where to")
    exporting.add_argument("--force", action="store_true", help="replace what an export wrote")
    gc = add("gc", _gc, "find what no registered run needs; nothing is deleted without --delete")
    gc.add_argument("--delete", action="store_true", help="delete it")
    gc.add_argument("--older-than", type=_days, default=0.0, metavar="DAYS",
                    help="only what was written so many days ago or earlier")  # fmt: skip
    gc.add_argument("--corrupt", action="store_true",
                    help="what was set aside as damaged, too")  # fmt: skip
    gc.add_argument("--gone", action="store_true",
                    help="what runs used whose directories are gone, too")  # fmt: skip
    return top


def _stage_and_key(command: argparse.ArgumentParser) -> None:
    command.add_argument("stage", metavar="STAGE", help="name of the stage, such as candidates")
    command.add_argument("key", metavar="KEY", help="its key, or a beginning that no other has")


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be a number of days, 0 or more")
    return days


def _list(arguments: argparse.Namespace) -> int:
    found = read_store(arguments.store)
    if arguments.stage is not None and not any(
        left.stage == arguments.stage for left in found.leftovers
    ):
        found.of_stage(arguments.stage)
    show.inventory(found, arguments.stage)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    found = read_store(arguments.store)
    HashCache(arguments.store).clear()  # nothing found here is vouched for afterwards
    checked = progress(problems(found), files_to_check(found), "verifying", "files")
    wrong = [problem for some in checked for problem in some]
    show.integrity(wrong, len(found.finished))
    return 1 if wrong else 0


def _explain(arguments: argparse.Namespace) -> int:
    found = read_store(arguments.store)
    show.explanation(explain(found, found.find(arguments.stage, arguments.key)))
    return 0


def _lineage(arguments: argparse.Namespace) -> int:
    found = lineages(read_store(arguments.store), arguments.pair)
    if arguments.json:
        sys.stdout.write(show_lineage.as_json(found) + "\n")
    else:
        for number, item in enumerate(found):
            if number:
                show.line()
            show_lineage.lineage(item)
    return 1 if any(item.disagreements for item in found) else 0


def _export(arguments: argparse.Namespace) -> int:
    stage = read_store(arguments.store).find(arguments.stage, arguments.key)
    summary = export(stage, arguments.file, force=arguments.force)
    show.line(f"{arguments.file}: {stage.ref.short}, {summary}")
    return 0


def _gc(arguments: argparse.Namespace) -> int:
    root = arguments.store
    found = find_garbage(
        read_store(root),
        older_than_days=arguments.older_than,
        corrupt=arguments.corrupt,
        gone=arguments.gone,
    )
    failed = False
    gone, left = [], list(found.kept)
    for item in found.garbage:
        try:
            reason = delete(root, item) if arguments.delete else in_use(root, item)
        except UserError as error:
            reason, failed = str(error), True
        if reason is None:
            gone.append(item)
        else:
            left.append(item.but(reason))
    show.garbage(gone, "deleted" if arguments.delete else "would be deleted by --delete")
    if left:
        show.garbage(left, "stays")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
