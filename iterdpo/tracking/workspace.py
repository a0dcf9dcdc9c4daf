"""The W&B workspace that docs/tracking.md describes, built with W&B's own library for them.

What is drawn stands in ``SECTIONS`` and ``COLUMNS`` as plain data; only ``build`` knows that
library, which is optional.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from iterdpo.errors import UserError
from iterdpo.tracking.curves import STEP, own_step

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

NAME = "iterdpo"
INSTALL = "pip install 'iterdpo[dashboards]'"


@dataclass(frozen=True)
class Chart:
    """One panel: numbers or histograms over a step axis, or the last table of each run."""

    title: str
    metrics: tuple[str, ...]
    x: str = "iteration"
    kind: Literal["line", "table"] = "line"


@dataclass(frozen=True)
class Part:
    """One section of the workspace."""

    title: str
    charts: tuple[Chart, ...]
    opened: bool = True


SECTIONS = (
    Part("Is it getting better?", (
        Chart("Quality (oracle, sampled answers)", ("quality/mean",)),
        Chart("95 % interval", ("quality/ci95/low", "quality/mean", "quality/ci95/high")),
        Chart("Quality (oracle, greedy answers)", ("quality/greedy_mean",)),
        Chart("Perfect answers", ("quality/perfect_share",)),
        Chart("Gain over M0", ("gain/over_initial/mean",)),
        Chart("Gain over the model before", ("gain/over_previous/mean",)),
        Chart("Gain over M0 at its best lower temperature", ("gain/over_control/mean",)),
        Chart("Wins against M0, oracle", ("head_to_head/oracle/vs_M0/win_rate/mean",)),
        Chart("Wins against M0, judged by M0", ("head_to_head/initial/vs_M0/win_rate/mean",)),
        Chart("Rating (M0 = 0)", ("rating/points",)),
    )),
    Part("Is the judge still right?", (
        Chart("Pairs rightly ordered: fixed set", ("judge/fixed_set/pairwise_accuracy",)),
        Chart("Pairs rightly ordered: own answers", ("judge/own_answers/pairwise_accuracy",)),
        Chart("Mean score by the model's own judgment", ("judged_mean",)),
        Chart("Agreement with the judge before", ("judge/agreement_with_previous",)),
        Chart("Score against length", ("judge/length_correlation",)),
        Chart("Readable verdicts", ("judge/parse_rate",)),
    )),
    Part("Is anything going wrong?", (
        Chart("Alarms", ("alarms",)),
        Chart("Answer length (tokens)", ("response_tokens",)),
        Chart("Truncated answers", ("truncated_share",)),
        Chart("Repeated answers", ("duplicate_share",)),
        Chart("Engine against trainer (nats)", ("training/engine_gap",)),
    )),
    Part("Pairs", (
        Chart("Pairs kept", ("pairs/kept",)),
        Chart("Labels right (oracle)", ("pairs/label_accuracy",)),
        Chart("Mean margin", ("pairs/margin_mean",)),
        Chart("Chosen to rejected length", ("pairs/length_ratio",)),
        Chart("Pairs dropped", (
            "pairs/dropped/tie", "pairs/dropped/identical", "pairs/dropped/truncated",
            "pairs/dropped/unscored", "pairs/dropped/margin",
        )),
        Chart("Scores", ("distribution/score",)),
        Chart("Margins", ("distribution/margin",)),
        Chart("Lengths", ("distribution/tokens",)),
    )),
    Part("Training, all iterations", (
        Chart("Loss", ("train/loss",), STEP),
        Chart("Reward margin", ("train/rewards/margins",), STEP),
        Chart("Reward accuracy", ("train/rewards/accuracies",), STEP),
        Chart("Rewards", ("train/rewards/chosen", "train/rewards/rejected"), STEP),
        Chart("Log-probs (nats)", ("train/logps/chosen", "train/logps/rejected"), STEP),
        Chart("Gradient norm", ("train/grad_norm",), STEP),
    )),
    Part("Answers", (
        Chart("Prompts with all their answers", ("samples",), kind="table"),
        Chart("Preference pairs", ("preference_pairs",), kind="table"),
    )),
    Part("Cost", (
        Chart("Answering (s)", ("seconds/candidates",)),
        Chart("Judging (s)", ("seconds/judgments",)),
        Chart("Training (s)", ("seconds/adapter",)),
        Chart("Tokens a second, answering", ("usage/candidates/tokens_per_second",)),
        Chart("Tokens a second, judging", ("usage/judgments/tokens_per_second",)),
    ), opened=False),
)  # fmt: skip
"""The sections from top to bottom, besides one for each policy's own training."""

COLUMNS = (
    "run:displayName", "summary:quality/mean", "summary:gain/over_initial/mean",
    "summary:judge/own_answers/pairwise_accuracy", "summary:response_tokens",
    "summary:pairs/kept", "summary:alarms", "config:seed.value", "config:training.value.beta",
    "config:training.value.learning_rate", "config:model.value.name",
)  # fmt: skip
"""The pinned columns of the table of runs: how the last model came out, and what differed."""

OWN = ("loss", "rewards/margins", "rewards/accuracies", "grad_norm")
"""What is drawn of each policy's own training."""


def sections(iterations: int) -> tuple[Part, ...]:
    """Return every section, with one for the training of each of M1 to M``iterations``."""
    each = tuple(
        Part(
            f"Training of M{t}",
            tuple(Chart(name, (f"train/M{t}/{name}",), own_step(f"M{t}")) for name in OWN),
            opened=False,
        )
        for t in range(1, iterations + 1)
    )
    at = next(i for i, part in enumerate(SECTIONS) if part.title.startswith("Training")) + 1
    return (*SECTIONS[:at], *each, *SECTIONS[at:])


def build(entity: str, project: str, iterations: int) -> ws.Workspace:
    """Return the workspace; nothing is sent anywhere.

    Raises:
        UserError: the library is not installed.
    """
    try:
        import wandb_workspaces.reports.v2.interface as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: {INSTALL}") from None

    def panel(chart: Chart) -> Any:
        if chart.kind == "table":
            return wr.WeavePanelSummaryTable(table_name=chart.metrics[0])
        return wr.LinePlot(title=chart.title, x=chart.x, y=list(chart.metrics))

    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            ws.Section(
                name=part.title, panels=[panel(chart) for chart in part.charts], is_open=part.opened
            )
            for part in sections(iterations)
        ],
        settings=ws.WorkspaceSettings(x_axis="iteration", max_runs=20),
        runset_settings=ws.RunsetSettings(pinned_columns=list(COLUMNS)),
    )


def as_json(workspace: ws.Workspace) -> str:
    """Return the workspace as it would be sent."""
    return json.dumps(workspace._spec, indent=1)


def charted(parts: Iterable[Part]) -> set[str]:
    """Return every name that some chart draws, and every step axis."""
    return {name for part in parts for chart in part.charts for name in (*chart.metrics, chart.x)}
