"""``python -m iterdpo.label RUN``: a page to compare answers on, and what people chose on it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.errors import UserError
from iterdpo.runtime.terminal import harmless, run_tool

if TYPE_CHECKING:
    from iterdpo.tools.label.annotations import AnnotationFile
    from iterdpo.tools.label.task import LabelTask


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit status."""
    arguments = parser().parse_args(argv)
    action = _import if arguments.imported else _make
    return run_tool("iterdpo.label", lambda: action(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from iterdpo.tools.label.task import KEY_SUFFIX, KINDS

    made = argparse.ArgumentParser(
        prog="python -m iterdpo.label",
        description="Write a page on which people compare answers without knowing whose they are, "
        "or read what they exported from it.",
    )
    made.add_argument("run", type=Path, metavar="RUN", help="the run's directory")
    page = made.add_argument_group("make a page")
    page.add_argument("--kind", choices=KINDS, default="models",
                      help="models: answers of two models to held-out prompts. pairs: the pairs "
                      "trained on. candidates: answers of one iteration, to train on what people "
                      "say (default: %(default)s)")  # fmt: skip
    page.add_argument("--n", type=int, default=100, metavar="N",
                      help="how many comparisons (default: %(default)s)")  # fmt: skip
    page.add_argument("--models", nargs=2, metavar="M",
                      help="the two models (default: M0 and the best)")  # fmt: skip
    page.add_argument("--greedy", action="store_true",
                      help="models: greedy answers instead of sampled ones")  # fmt: skip
    page.add_argument("--iteration", type=int, metavar="T",
                      help="of pairs (default: all) or candidates (default: the last)")  # fmt: skip
    page.add_argument("--seed", type=int, default=0, metavar="N",
                      help="which comparisons, in what order, on which side "
                      "(default: 0)")  # fmt: skip
    page.add_argument("--out", type=Path, metavar="FILE",
                      help="where to (default: label-KIND.html in the run's directory); "
                      f"the key goes beside it, as {KEY_SUFFIX}")  # fmt: skip
    page.add_argument("--force", action="store_true", help="replace another page that is there")
    choices = made.add_argument_group("read what people chose")
    choices.add_argument("--import", dest="imported", nargs="+", type=Path, metavar="FILE",
                         help="files that people exported from one page")  # fmt: skip
    choices.add_argument("--key", type=Path, metavar="FILE",
                         help="the page's key (default: looked for in the run's directory, here, "
                         "and beside the files)")  # fmt: skip
    return made


def _make(arguments: argparse.Namespace) -> None:
    from iterdpo.runs.directory import Run
    from iterdpo.tools.compare.answers import default_names
    from iterdpo.tools.label.page import page_html
    from iterdpo.tools.label.sources import questions_of
    from iterdpo.tools.label.task import KEY_SUFFIX, key_text, make_task

    if arguments.n < 1:
        raise UserError(f"--n={arguments.n}: must be at least 1")
    run = Run.open(arguments.run)
    names = arguments.models or default_names(run)
    if arguments.kind == "models" and len(names) < 2:
        raise UserError(f"{run.directory}: has only M0; there is no other model to compare with it")
    names, questions = questions_of(
        run, arguments.kind, (names[0], names[-1]), arguments.iteration, arguments.greedy
    )
    task = make_task(
        arguments.kind, run.name, names, questions, arguments.n, arguments.seed
    )  # fmt: skip
    page = arguments.out or run.directory / f"label-{arguments.kind}.html"
    key = page.with_name(page.stem + KEY_SUFFIX)
    _require_free(key, task, force=arguments.force)
    _write(page, page_html(task), "--out")
    _write(key, key_text(task), "--out")
    sys.stdout.write(f"{page}: {len(task.items)} comparisons of {names[0]} and {names[1]}\n")
    if task.identical:
        sys.stdout.write(f"  {task.identical} of {task.total} pairs are the same text, not shown\n")
    sys.stdout.write(f"{key}: tells the sides apart; keep it from those who label\n")


def _require_free(key: Path, task: LabelTask, *, force: bool) -> None:
    """Refuse to replace the key of another page: what was labeled on it could not be read."""
    from iterdpo.tools.label.task import read_key

    if force or not key.exists():
        return
    if read_key(key).hash != task.hash:
        raise UserError(
            f"{key}: is the key of another page, and without it nobody's choices can be read; name "
            "another page, --out FILE, or --force"
        )


def _import(arguments: argparse.Namespace) -> None:
    from iterdpo.runs.corrections import RESULT_SUFFIX
    from iterdpo.tools.label.annotations import check_annotations, read_annotations
    from iterdpo.tools.label.result import label_lines, result_of
    from iterdpo.tools.label.show import lines_of
    from iterdpo.tools.label.task import KEY_SUFFIX, read_key

    annotations = read_annotations(arguments.imported)
    if arguments.key:
        key = arguments.key
        task = read_key(key)
    else:
        key, task = _find_key(annotations[0].task, arguments)
    check_annotations(annotations, task)
    result = result_of(task, annotations)
    result["corrected"], missing = _corrected(arguments.run, task, annotations)
    for line in (*lines_of(result), *missing):
        sys.stdout.write(harmless(line) + "\n")
    stem = key.name.removesuffix(KEY_SUFFIX)
    written = [(key.with_name(f"{stem}{RESULT_SUFFIX}"), json.dumps(result, indent=1) + "\n", "")]
    if task.kind != "models":
        written.append((
            key.with_name(f"{stem}.labels.jsonl"),
            label_lines(task, annotations),
            ": trains with judge=human judge.labels=FILE",
        ))  # fmt: skip
    for place, text, what in written:
        _write(place, text, "--key")
        sys.stdout.write(f"{place}{what}\n")


def _corrected(
    place: Path, task: LabelTask, annotations: Sequence[AnnotationFile]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the run's win rates as the labels correct them, and why there are none if so.

    The choices are read all the same where the run is no longer whole.
    """
    from iterdpo.runs.directory import Run
    from iterdpo.tools.label.correction import corrections_of

    try:
        return [asdict(item) for item in corrections_of(Run.open(place), task, annotations)], []
    except UserError as error:
        return [], [f"no win rate of the run is corrected: {error}"]


def _find_key(task: str, arguments: argparse.Namespace) -> tuple[Path, LabelTask]:
    from iterdpo.data.values import excerpt
    from iterdpo.tools.label.task import KEY_SUFFIX, read_json, read_key

    for key in _keys(arguments, KEY_SUFFIX):
        values = read_json(key)
        if isinstance(values, dict) and values.get("task") == task:
            return key, read_key(key)
    raise UserError(
        f"{arguments.imported[0]}: was labeled on another page than those of {arguments.run}: "
        f"none of the keys there is of task {excerpt(task[:8])}; name it, --key FILE"
    )


def _keys(arguments: argparse.Namespace, suffix: str) -> Iterator[Path]:
    places = [arguments.run, Path(), *(path.parent for path in arguments.imported)]
    for place in dict.fromkeys(place.resolve() for place in places):
        yield from sorted(place.glob(f"*{suffix}"))


def _write(place: Path, text: str, option: str) -> None:
    from iterdpo.store.atomic import write_text

    try:
        write_text(place, text)
    except OSError as error:
        raise UserError(
            f"{option}: {place} cannot be written ({error.strerror}); name another place"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
