"""How training went, and the run-time checks that the right policy was trained and served."""

from __future__ import annotations

import math
from collections.abc import Iterator

from iterdpo.errors import UserError
from iterdpo.runs.directory import Run
from iterdpo.runtime.formatting import DASH, number
from iterdpo.tools.report import charts
from iterdpo.tools.report.document import Cell, ChartGroup, Part, Section, Table, Text
from iterdpo.tools.report.reading import iterations

LOGPROB = "nats an answer"
LOGPROB_OF_ODDS = "nats a token"
"""ORPO's log-probs are means over an answer's tokens."""
CURVES = (
    ("loss", "Loss", "loss"),
    ("rewards/margins", "Reward margin", "nats × β"),
    ("rewards/accuracies", "Reward accuracy", "share of pairs"),
    ("rewards/chosen", "Reward of the chosen", "nats × β"),
    ("rewards/rejected", "Reward of the rejected", "nats × β"),
    ("logps/chosen", "Log-prob of the chosen", LOGPROB),
    ("logps/rejected", "Log-prob of the rejected", LOGPROB),
    ("grad_norm", "Gradient norm", "before clipping"),
)


def training(run: Run) -> Section | None:
    """Return the section on training curves and run-time checks, if anything was trained."""
    if not run.summary.iterations:
        return None
    histories, missing = [], []
    for made in iterations(run):
        try:
            histories += [{"model": f"M{made.number}", **row} for row in made.history]
        except UserError as error:
            missing.append(Text(str(error), "warning"))
    known = [
        {name: value for name, value in row.items()
         if not isinstance(value, float) or math.isfinite(value)}
        for row in histories
    ]  # fmt: skip
    by_odds = run.values["training"].get("method") == "orpo"
    drawn = [
        charts.curves(
            f"training-{key.replace('/', '-')}", title,
            "Mean over the pairs of one optimizer step; no interval.",
            [{"model": row["model"], "step": row["step"], "value": row[key]}
             for row in known if row.get(key) is not None],
            x="step", y="value", x_title="step", series="model",
            y_title=LOGPROB_OF_ODDS if by_odds and unit == LOGPROB else unit,
        )
        for key, title, unit in CURVES
        if any(row.get(key) is not None for row in known)
    ]  # fmt: skip
    parts: list[Part] = [ChartGroup(drawn)] if drawn else [Text("Nothing was trained.", "quiet")]
    return Section("training", "Training", [*parts, *missing, *_checks(run)])


def _checks(run: Run) -> Iterator[Part]:
    fingerprints = {model.iteration: model.fingerprint for model in run.models}
    rows: list[list[str | Cell]] = []
    for made in run.summary.iterations:
        name, found = f"M{made.iteration}", made.training
        if not found:
            rows.append([name, "no pair left: the policy stayed", *[DASH] * 7])
            continue
        canary = run.summary.canaries.get(fingerprints.get(made.iteration, ""))
        rows.append(
            [
                name,
                f"{found.pairs:,}",
                f"{found.steps:,}",
                number(found.step0_loss, 6),
                number(found.step0_expected_loss, 6),
                _reference(found.reference_unchanged),
                number(found.engine_gap, 7),
                canary.outcome if canary else DASH,
                f"{canary.astray:,} of {canary.texts:,}" if canary else DASH,
            ]
        )
    yield Table(
        "Run-time checks",
        ["", "pairs", "steps", "loss at step 0", "expected", "reference", "engine gap", "canary",
         "astray"],
        rows,
        "Loss at step 0: as TRL computed it, beside the papers' arithmetic on independent "
        "log-probs. Reference: its bytes after training. Engine gap: largest difference of an "
        "answer's log-prob between engine and trainer, in nats. Canary: whether the engine "
        "applied the very adapter; astray: texts that were not where the trainer has them.",
        texts=(5, 7),
    )  # fmt: skip


def _reference(unchanged: bool | None) -> str | Cell:
    if unchanged is None:  # a training without one
        return DASH
    return "unchanged" if unchanged else Cell("CHANGED", "down")
