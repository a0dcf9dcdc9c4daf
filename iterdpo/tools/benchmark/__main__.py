"""``python -m iterdpo.benchmark``: a run's models on public benchmarks.

``answers`` writes what they answer in the files that a benchmark judges; ``lm_eval`` hands them to
the lm-evaluation-harness.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.errors import UserError
from iterdpo.runtime.terminal import console, harmless, run_tool
from iterdpo.tools.benchmark.formats import FORMATS

if TYPE_CHECKING:
    from iterdpo.runs.directory import Run

log = logging.getLogger("iterdpo.benchmark")  # __name__ is __main__ here


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit status."""
    arguments = parser().parse_args(argv)
    return run_tool("iterdpo.benchmark", lambda: arguments.command(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.benchmark",
        description="Put the models of a run to public benchmarks.",
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    answers = commands.add_parser(
        "answers", help="write answers in the files that AlpacaEval, Arena-Hard or MT-Bench judge"
    )
    answers.set_defaults(command=_answers)
    answers.add_argument("run", type=Path, metavar="RUN", help="the run's directory")
    answers.add_argument("--format", choices=FORMATS, required=True, help="whose files")
    answers.add_argument("--questions", type=Path, required=True, metavar="FILE",
                         help="the benchmark's own questions")  # fmt: skip
    _shared(answers)
    answers.add_argument("--temperature", type=float, metavar="T",
                         help="0 is greedy (default: the benchmark's, else the run's)")  # fmt: skip
    answers.add_argument("--max-tokens", type=int, metavar="N",
                         help="longest answer (default: the run's)")  # fmt: skip
    answers.add_argument("--engine", choices=("auto", "transformers", "vllm"),
                         help="what runs the models (default: what the run was told)")  # fmt: skip
    answers.add_argument("--out", type=Path, metavar="DIR",
                         help="where to (default: benchmarks/FORMAT in the run's "
                         "directory)")  # fmt: skip
    harness = commands.add_parser("lm_eval", help="run tasks of the lm-evaluation-harness")
    harness.set_defaults(command=_lm_eval)
    harness.add_argument("run", type=Path, metavar="RUN", help="the run's directory")
    harness.add_argument("--tasks", nargs="+", required=True, metavar="TASK",
                         help="such as gsm8k ifeval")  # fmt: skip
    _shared(harness)
    harness.add_argument("--num-fewshot", type=int, metavar="N", help="examples in the prompt")
    harness.add_argument("--limit", type=float, metavar="N", help="examples a task, for a try")
    harness.add_argument("--batch-size", default="auto", metavar="N", help="a number, or auto")
    harness.add_argument("--apply-chat-template", action="store_true",
                         help="ask in the model's chat format")  # fmt: skip
    harness.add_argument("--include-path", type=Path, metavar="DIR", help="your own tasks")
    harness.add_argument("--device", metavar="D", help="cpu or cuda (default: what there is)")
    harness.add_argument("--out", type=Path, metavar="FILE",
                         help="where to (default: benchmarks/lm_eval.json in the run's "
                         "directory)")  # fmt: skip
    return made


def _shared(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models", nargs="+", metavar="M",
                         help="such as M0 M3 (default: all of them)")  # fmt: skip


def _answers(arguments: argparse.Namespace) -> None:
    from iterdpo.runs.directory import Run
    from iterdpo.runtime.quiet import quiet_libraries
    from iterdpo.tools.benchmark.answering import answer_questions
    from iterdpo.tools.benchmark.formats import SUFFIXES, WRITERS, read_questions
    from iterdpo.tools.compare.answers import engine_of, sampling_of

    run = Run.open(arguments.run)
    questions = read_questions(arguments.questions, arguments.format)
    policies = [run.policy(name) for name in arguments.models or run.policies]
    heat = arguments.temperature
    if heat is not None and not 0 <= heat < float("inf"):
        raise UserError(f"--temperature={heat}: must be a number of at least 0")
    sampling = sampling_of(run, greedy=False, temperature=heat, seed=None)
    if arguments.max_tokens is not None:
        if arguments.max_tokens < 1:
            raise UserError(f"--max-tokens={arguments.max_tokens}: must be at least 1")
        sampling = replace(sampling, max_tokens=arguments.max_tokens)
    target = arguments.out or run.directory / "benchmarks" / arguments.format
    system = run.config.prompts.system
    quiet_libraries()
    with closing(engine_of(run, arguments.engine)) as engine:
        for policy in policies:
            answers = answer_questions(
                engine, policy, questions, sampling, system, own_temperature=heat is not None
            )
            name = f"{run.name}-{policy.name}"
            place = target / f"{name}{SUFFIXES[arguments.format]}"
            _write(place, WRITERS[arguments.format](questions, answers, name, time.time()))
            sys.stdout.write(f"{place}: {len(answers)} answers\n")


def _lm_eval(arguments: argparse.Namespace) -> None:
    from iterdpo.runs.directory import Run
    from iterdpo.runtime.quiet import quiet_libraries
    from iterdpo.tools.benchmark.harness import evaluate, metrics_of, require_harness, table_rows

    require_harness()
    run = Run.open(arguments.run)
    policies = [run.policy(name) for name in arguments.models or run.policies]
    settings = _harness_settings(arguments, run)
    place = arguments.out or run.directory / "benchmarks" / "lm_eval.json"
    quiet_libraries()
    done: dict[str, Any] = {}
    for policy in policies:
        log.info("%s: %s", policy.name, " ".join(settings.tasks))
        done[policy.name] = evaluate(policy, settings)
        # After each model: hours of work outlive a later failure.
        values = {"run": run.name, "settings": asdict(settings), "models": done}
        _write(place, json.dumps(values, indent=1, default=str) + "\n")
    header, rows = table_rows({name: metrics_of(one["results"]) for name, one in done.items()})
    _show(header, rows)
    sys.stdout.write(f"{place}\n")


def _harness_settings(arguments: argparse.Namespace, run: Run) -> Any:
    import torch

    from iterdpo.tools.benchmark.harness import HarnessSettings, tasks_of

    tasks = tasks_of(arguments.tasks)
    if not tasks:
        raise UserError("--tasks: name at least one task")
    size = arguments.batch_size
    if size != "auto" and not (size.isascii() and size.isdigit() and int(size)):
        raise UserError(f"--batch-size={size}: must be auto or a whole number of at least 1")
    if arguments.limit is not None and not arguments.limit > 0:
        raise UserError(f"--limit={arguments.limit}: must be above 0")
    if arguments.include_path is not None and not arguments.include_path.is_dir():
        raise UserError(f"--include-path={arguments.include_path}: no such directory")
    config = run.config
    return HarnessSettings(
        tasks=tasks,
        dtype=run.policy("M0").base.dtype,
        device=arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        batch_size=size if size == "auto" else int(size),
        num_fewshot=arguments.num_fewshot,
        limit=arguments.limit,
        apply_chat_template=arguments.apply_chat_template,
        seed=config.seed,
        include_path=arguments.include_path,
        trust_remote_code=config.model.trust_remote_code,
        serve=config.engine.serve,
    )


def _show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        table.add_column(harmless(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(harmless, row))
    console(400).print(table)


def _write(place: Path, text: str) -> None:
    from iterdpo.store.atomic import write_text

    try:
        write_text(place, text)
    except OSError as error:
        raise UserError(
            f"--out: {place} cannot be written ({error.strerror}); name another place"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
