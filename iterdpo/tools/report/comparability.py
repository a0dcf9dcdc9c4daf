"""Whether runs were measured alike: figures of different judges say nothing of the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from iterdpo.errors import UserError
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import listed
from iterdpo.tools.report.measures import AGAINST_M0, Measure
from iterdpo.tools.report.settings import differing, flat
from iterdpo.tools.report.sweep import SEED

_SAMPLING = ("candidates.temperature", "candidates.top_p", "candidates.top_k",
             "candidates.max_tokens")  # fmt: skip
_ASKED = ("evaluation.arbiter_rubric", "evaluation.arbiter_min_mass", "judge.system")
_READ: Mapping[str, Sequence[str]] = {
    "initial": _ASKED,
    "external": (*_ASKED, "evaluation.arbiter_model", "model.dtype"),
}
"""What an arbiter reads beside its own name; the oracle nothing."""
_FILES = {"rubric": "the arbiter's rubric", "model": "the arbiter's model"}
"""What of an arbiter's key tells that a file of the same name has another content."""


def unlike(measure: Measure, runs: Sequence[Run]) -> list[str]:
    """Return, a line each, why the figures of ``runs`` are not comparable; nothing if they are.

    Args:
        measure: what the runs are compared by.
        runs: those that are compared.
    """
    said = []
    if measure is AGAINST_M0:
        if keys := _differing(runs, _judge):
            # A file's content counts where no setting says already that it is another one.
            keys = [key for key in keys if "." in key] or keys
            said.append(
                f"Not comparable: the judge of the head-to-heads is not the same in all runs "
                f"({listed(keys)}), so neither are the win rates below."
            )
        if _starts_differ(runs):
            said.append(
                "Not comparable: runs of one seed start from different models, and each win rate "
                "is against the run's own M0."
            )
    if keys := _differing(runs, _sampling):
        said.append(
            f"Not comparable: the answers that are measured were sampled differently "
            f"({listed(keys)}), which changes the {measure.name} of one and the same model."
        )
    return said


def _differing(runs: Sequence[Run], of: Callable[[Run], Mapping[str, str]]) -> list[str]:
    """Return the keys that every run has and that are not the same in all."""
    found = [of(run) for run in runs]
    shared = set.intersection(*(set(values) for values in found)) if found else set()
    return differing([{key: values[key] for key in values if key in shared} for values in found])


def _starts_differ(runs: Sequence[Run]) -> bool:
    """Say whether two runs of one seed have another M0; fine-tuning makes one for each seed."""
    starts: dict[str, set[str]] = {}
    for run in runs:
        seed = flat(run.values).get(SEED, "")
        starts.setdefault(seed, set()).add(run.models[0].fingerprint)
    return any(len(found) > 1 for found in starts.values())


def _sampling(run: Run) -> dict[str, str]:
    values = flat(run.values)
    return {key: values[key] for key in _SAMPLING if key in values}


def _judge(run: Run) -> dict[str, str]:
    values = flat(run.values)
    arbiter = values.get("evaluation.arbiter", "")
    keys = ("evaluation.arbiter", *_READ.get(arbiter, ()))
    return {key: values[key] for key in keys if key in values} | dict(_files(run, values))


def _files(run: Run, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the hashes of what an arbiter was made from, where its key holds them."""
    for met in run.summary.comparisons:
        try:
            identity: Any = run.manifest(met.stage).identity["settings"]
        except UserError:
            continue
        for key, name in _FILES.items():
            if key in identity:
                yield name, str(identity[key])
        return
