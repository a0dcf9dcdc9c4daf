"""Completions of M0 and later models side by side, on instructions that no run has seen.

For notebooks::

    from iterdpo.compare import compare
    frame = compare("runs/2026-01-31_12-00-00", n=20)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from iterdpo.runs.directory import Run
    from iterdpo.tools.compare.answers import EngineFor, EngineSetting

__all__ = ["compare"]


def compare(
    runs: Run | Path | str | Sequence[Run | Path | str],
    models: Sequence[str] | None = None,
    *,
    prompts: Path | str | Sequence[str] | None = None,
    field: str = "prompt",
    n: int = 10,
    greedy: bool = False,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    engine: EngineSetting | None = None,
    engine_for: EngineFor | None = None,
) -> pd.DataFrame:
    """Let models answer the same instructions and return them side by side.

    Args:
        runs: one run or several, opened or as directories; also directories of sweeps.
        models: names such as ``M0`` and ``M3``; M0 and each run's best by default.
        prompts: a file (JSONL, JSON, CSV, Parquet, text) or the instructions themselves. By default
            held-out instructions of the first run's source that no run trained on or was measured
            on, as far as there are any.
        field: the file's column that holds the instruction.
        n: how many instructions, where none are named.
        greedy: take the likeliest token each time instead of sampling as the run did.
        temperature: sample at this instead of the run's own temperature.
        max_tokens: longest answer, instead of the run's own limit.
        seed: of the sampling and the choice of instructions; the first run's by default. All models
            draw the same random numbers.
        engine: runs the models instead of the run's own engine.
        engine_for: makes the engine of a run, in tests and where one is held already.

    Returns:
        A row an instruction, in columns: ``instruction``; ``seen``, which is ``never``,
        ``evaluation`` or ``training``, whatever any of the runs did with it; an answer for each
        model, missing where the instruction does not fit its context; where every run was measured
        by the lab's oracle, ``<model> score`` from 0 to 5 of the instructions that are the lab's.

    Raises:
        UserError: a run, a model, a file or an engine cannot be used.
    """
    from iterdpo.config.choices import TARGET
    from iterdpo.errors import UserError
    from iterdpo.evaluation.oracles import LAB, LabOracle
    from iterdpo.records import Prompt
    from iterdpo.runs.directory import Run, find_runs
    from iterdpo.runtime.quiet import quiet_libraries
    from iterdpo.tools.compare import answers, unseen

    quiet_libraries()
    given = [runs] if isinstance(runs, Run | Path | str) else list(runs)
    opened = [run for item in given for run in
              ([item] if isinstance(item, Run) else find_runs([Path(item)]))]  # fmt: skip
    if not opened:
        raise UserError("compare: name at least one run's directory")
    first = opened[0]
    chosen = answers.choose_models(opened, models)
    sampling = answers.sampling_of(first, greedy=greedy, temperature=temperature, seed=seed)
    if max_tokens is not None:
        sampling = replace(sampling, max_tokens=max_tokens)
    history = unseen.History.of(opened)
    if prompts is None:
        asked = unseen.held_out(unseen.supply(first), history, n, first.config.seed)
    elif isinstance(prompts, Path | str):
        asked = unseen.from_file(Path(prompts), field)
    else:
        asked = [Prompt.of(text, "given") for text in prompts]
    written = answers.answer_all(
        chosen, asked, sampling, engine_for or (lambda run: answers.engine_of(run, engine))
    )
    answers.warn_of(written, sampling)
    chosen_oracles = [run.values["evaluation"]["oracle"] or {} for run in opened]
    exact = all(oracle.get(TARGET) == LAB for oracle in chosen_oracles)
    seen = [history[prompt.text] for prompt in asked]
    return answers.as_frame(asked, seen, written, LabOracle() if exact else None)
