"""The loop from Python: ``iterdpo.run`` makes a run, ``iterdpo.load`` opens one that was made.

What they return holds everything that a run made as DataFrames::

    import iterdpo

    run = iterdpo.run(["experiment=smoke"], judge=MyJudge())
    run.pairs.sort_values("margin")
    run.evaluations[["model", "quality.mean"]]
    run.report()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.errors import UserError
from iterdpo.runs.directory import Run

if TYPE_CHECKING:
    import pandas as pd

    from iterdpo.config.schema import Config
    from iterdpo.engines.base import Engine
    from iterdpo.evaluation.summary import Summary
    from iterdpo.judging.base import Judge
    from iterdpo.pairing.base import Strategy
    from iterdpo.prompts.base import PromptSource
    from iterdpo.records import Policy
    from iterdpo.tracking.base import Tracker
    from iterdpo.verifiers.base import Verifier

__all__ = ["RunResult", "load", "run"]


def run(
    overrides: Sequence[str] = (),
    *,
    judge: Judge | None = None,
    pairs: Strategy | None = None,
    prompts: PromptSource | None = None,
    verifier: Verifier | None = None,
    engine: Engine | None = None,
    tracker: Tracker | None = None,
    directory: Path | str | None = None,
) -> RunResult:
    """Run the loop, as ``python -m iterdpo`` does with the same overrides.

    What was computed before is read from the store: called again, it resumes at the first shard
    that is missing.

    Args:
        overrides: as on the command line: ``["experiment=smoke", "training.beta=0.3"]``.
        judge: scores the candidates, in place of the configured judge.
        pairs: makes the preference pairs.
        prompts: gives the prompts.
        verifier: scores answers exactly, to measure the models.
        engine: runs the models; its keys are its own.
        tracker: is told what is measured.
        directory: of the run; by default ``runs/<time>``, as on the command line.

    Raises:
        ConfigError: the configuration is wrong, one line a problem.
        UserError: something else that the user can put right; what was computed is in the store.
        LineageError: a run-time check failed.
    """
    from iterdpo.runs.execute import execute
    from iterdpo.tools.report.write import LiveReport

    given = {
        "judge": judge,
        "pairs": pairs,
        "prompts": prompts,
        "evaluation.oracle": verifier,
        "tracking": tracker,
    }
    config, default = _composed(overrides, {k: v for k, v in given.items() if v is not None})
    place = Path(directory) if directory is not None else default
    report = LiveReport(place, on=config.report)
    execute(config, place, engine, after_round=lambda _: report.write())
    return load(place)


def load(directory: Path | str) -> RunResult:
    """Open a run by its directory, finished or not, without any heavy library.

    Raises:
        UserError: no run is there, M0 is not measured yet, or another version wrote it.
    """
    return RunResult(Run.open(Path(directory)))


class RunResult:
    """What a run made. Every table is read when it is first asked for."""

    def __init__(self, opened: Run) -> None:
        self._run = opened

    def __repr__(self) -> str:
        return f"RunResult({str(self.directory)!r}, best={self.best!r})"

    @property
    def directory(self) -> Path:
        return self._run.directory

    @property
    def summary(self) -> Summary:
        """``summary.json``, typed: every model's evaluation, and what each iteration made."""
        return self._run.summary

    @property
    def best(self) -> str:
        """The name of the best model by the strictest measure there is, such as ``M2``."""
        return self._run.best

    def policy(self, name: str | None = None) -> Policy:
        """Return a model of the run as the record of its weights; the last one without a name.

        Raises:
            UserError: the run has no such model.
        """
        return self._run.policy(name)

    def report(self, out: Path | str | None = None) -> Path:
        """Write the run's page and return where it is.

        Raises:
            UserError: ``out`` cannot be written to.
        """
        from iterdpo.tools.report.write import write

        return write([self.directory], Path(out) if out is not None else None)

    @cached_property
    def policies(self) -> pd.DataFrame:
        """A row a model, M0 first: its parent, fingerprint and weights."""
        return _frame(
            {
                "model": model.name,
                "iteration": model.iteration,
                "parent": model.parent,
                "fingerprint": model.fingerprint,
                "adapter": policy.adapter.path if policy.adapter else None,
                "checkpoint": policy.base.path,
                "quantization": policy.base.quantization,
                "best": model.name == self.best,
            }
            for model in self.summary.models
            for policy in [self._run.policy(model.name)]
        )

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """A row a model: everything that was measured of it, such as ``quality.mean``."""
        import pandas as pd

        rows = [
            {
                "model": model.name,
                "iteration": model.iteration,
                **_measured(asdict(model.evaluation)),
                "gains": asdict(model.gains) if model.gains else None,
            }
            for model in self.summary.models
        ]
        return pd.json_normalize(rows)

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """A row for each prompt of each iteration."""
        return self._of_iterations("prompts", lambda record, _: asdict(record))

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """A row a candidate, with the model that wrote it; token ids are counted, not listed."""

        def row(record: Any, names: Mapping[str, str]) -> dict[str, Any]:
            return {
                "id": record.id,
                "prompt_id": record.prompt_id,
                "index": record.index,
                "text": record.text,
                "tokens": len(record.token_ids),
                "finish_reason": record.finish_reason.value,
                "model": names.get(record.policy, record.policy),
                "seed": record.seed,
            }

        return self._of_iterations("candidates", row)

    @cached_property
    def judgments(self) -> pd.DataFrame:
        """A row a judgment: the score, or why there is none, and what the judge said."""

        def row(record: Any, names: Mapping[str, str]) -> dict[str, Any]:
            return {
                "id": record.id,
                "candidate_id": record.candidate_id,
                "prompt_id": record.prompt_id,
                "score": record.score,
                "unscored": None if record.score is not None else record.verdict.reason.value,
                "judge": names.get(record.judge, record.judge),
                "raw": list(record.raw),
                "distribution": list(record.distribution),
            }

        return self._of_iterations("judgments", row)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """A row a preference pair, with both texts and scores."""

        def row(record: Any, names: Mapping[str, str]) -> dict[str, Any]:
            return {
                **asdict(record),
                "margin": record.margin,
                "policy": names.get(record.policy, record.policy),
                "judge": names.get(record.judge, record.judge),
            }

        return self._of_iterations("pairs", row)

    def _of_iterations(self, what: str, row: Any) -> pd.DataFrame:
        names = {policy.fingerprint: name for name, policy in self._run.policies.items()}
        return _frame(
            {"iteration": number, **row(record, names)}
            for number in range(1, len(self.summary.iterations) + 1)
            for record in getattr(self._run.made(number), what)
        )


def _composed(overrides: Sequence[str], given: Mapping[str, Any]) -> tuple[Config, Path]:
    """Return the typed configuration, and the directory that the command would make."""
    from iterdpo.config.compose import config_of

    if isinstance(overrides, str):
        raise UserError(f"overrides={overrides}: give a list of texts, [{overrides!r}]")
    return config_of(overrides, given)


def _measured(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation without what it holds of each prompt."""
    return {name: value for name, value in evaluation.items() if not name.endswith("_by_prompt")}


def _frame(rows: Any) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows))
