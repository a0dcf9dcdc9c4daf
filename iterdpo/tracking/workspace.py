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
class Panel:
    """One panel: numbers or histograms over a step axis, or the last table of each run."""

    title: str
    metrics: tuple[str, ...]
    x: str = "iteration"
    kind: Literal["line", "table"] = "line"


@dataclass(frozen=True)
class WorkspaceSection:
    """One section of the workspace."""

    title: str
    charts: tuple[Panel, ...]
    opened: bool = True


SECTIONS = (
    WorkspaceSection("Is it getting better?", (
        Panel("Quality (oracle, sampled answers)", ("quality/mean",)),
        Panel("95 % interval", ("quality/ci95/low", "quality/mean", "quality/ci95/high")),
        Panel("Quality (oracle, greedy answers)", ("quality/greedy_mean",)),
        Panel("Perfect answers", ("quality/perfect_share",)),
        Panel("Gain over M0", ("gain/over_initial/mean",)),
        Panel("Gain over the model before", ("gain/over_previous/mean",)),
        Panel("Gain over M0 at its best lower temperature", ("gain/over_baseline/mean",)),
        Panel("Wins against M0, oracle", ("head_to_head/oracle/vs_M0/win_rate/mean",)),
        Panel("Wins against M0, judged by M0", ("head_to_head/initial/vs_M0/win_rate/mean",)),
        Panel("Rating (M0 = 0)", ("rating/points",)),
    )),
    WorkspaceSection("Is the judge still right?", (
        Panel("Pairs rightly ordered: reference set", ("judge/reference_set/pairwise_accuracy",)),
        Panel("Pairs rightly ordered: own answers", ("judge/own_answers/pairwise_accuracy",)),
        Panel("Mean score by the model's own judgment", ("judged_mean",)),
        Panel("Agreement with the judge before", ("judge/agreement_with_previous",)),
        Panel("Score against length", ("judge/length_correlation",)),
        Panel("Readable verdicts", ("judge/parse_rate",)),
    )),
    WorkspaceSection("Is anything going wrong?", (
        Panel("Alarms", ("alarms",)),
        Panel("Answer length (tokens)", ("response_tokens",)),
        Panel("Truncated answers", ("truncated_share",)),
        Panel("Repeated answers", ("duplicate_share",)),
        Panel("Engine against trainer (nats)", ("training/engine_gap",)),
    )),
    WorkspaceSection("Pairs", (
        Panel("Pairs kept", ("pairs/kept",)),
        Panel("Labels right (oracle)", ("pairs/label_accuracy",)),
        Panel("Mean margin", ("pairs/margin_mean",)),
        Panel("Chosen to rejected length", ("pairs/length_ratio",)),
        Panel("Pairs dropped", (
            "pairs/dropped/tie", "pairs/dropped/identical", "pairs/dropped/truncated",
            "pairs/dropped/unscored", "pairs/dropped/margin",
        )),
        Panel("Scores", ("distribution/score",)),
        Panel("Margins", ("distribution/margin",)),
        Panel("Lengths", ("distribution/tokens",)),
    )),
    WorkspaceSection("Training, all iterations", (
        Panel("Loss", ("train/loss",), STEP),
        Panel("Reward margin", ("train/rewards/margins",), STEP),
        Panel("Reward accuracy", ("train/rewards/accuracies",), STEP),
        Panel("Rewards", ("train/rewards/chosen", "train/rewards/rejected"), STEP),
        Panel("Log-probs (nats)", ("train/logps/chosen", "train/logps/rejected"), STEP),
        Panel("Gradient norm", ("train/grad_norm",), STEP),
    )),
    WorkspaceSection("Answers", (
        Panel("Prompts with all their answers", ("samples",), kind="table"),
        Panel("Preference pairs", ("preference_pairs",), kind="table"),
    )),
    WorkspaceSection("Cost", (
        Panel("Answering (s)", ("seconds/candidates",)),
        Panel("Judging (s)", ("seconds/judgments",)),
        Panel("Training (s)", ("seconds/adapter",)),
        Panel("Tokens a second, answering", ("usage/candidates/tokens_per_second",)),
        Panel("Tokens a second, judging", ("usage/judgments/tokens_per_second",)),
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


def sections(iterations: int) -> tuple[WorkspaceSection, ...]:
    """Return every section, with one for the training of each of M1 to M``iterations``."""
    each = tuple(
        WorkspaceSection(
            f"Training of M{t}",
            tuple(Panel(name, (f"train/M{t}/{name}",), own_step(f"M{t}")) for name in OWN),
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

    def panel(chart: Panel) -> Any:
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


def charted(parts: Iterable[WorkspaceSection]) -> set[str]:
    """Return every name that some chart draws, and every step axis."""
    return {name for part in parts for chart in part.charts for name in (*chart.metrics, chart.x)}
