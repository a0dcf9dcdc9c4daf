"""A training's history as rows of numbers, on its own step axis and on that of the whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

STEP = "train/step"
"""The axis of the whole run: its optimizer steps, those of earlier iterations before."""


def own_step(name: str) -> str:
    """Return the axis of one policy's training: ``train/M1/step``."""
    return f"train/{name}/step"


def curve_rows(
    name: str, history: Sequence[Mapping[str, float]], steps_before: int
) -> list[dict[str, float]]:
    """Return a row a step with every number twice: ``train/loss`` and ``train/M1/loss``.

    Args:
        name: of the policy that was trained, such as ``M1``.
        history: of ``training.json``: an entry a step, with its ``step`` from 1.
        steps_before: optimizer steps of all iterations before.
    """
    return [
        {
            STEP: steps_before + entry["step"],
            **{f"train/{key}": value for key, value in entry.items() if key != "step"},
            **{f"train/{name}/{key}": value for key, value in entry.items()},
        }
        for entry in history
    ]


def axes(names: Iterable[str]) -> dict[str, str]:
    """Return the step axis of each of a curve's numbers; those of the axes themselves are absent.

    ``train/M1/loss`` belongs to ``train/M1/step``, ``train/rewards/margins`` to ``train/step``.
    """
    names = list(names)
    own = [name for name in names if name != STEP and name.endswith("/step")]
    return {
        name: next((axis for axis in own if name.startswith(axis.removesuffix("step"))), STEP)
        for name in names
        if name != STEP and name not in own
    }
