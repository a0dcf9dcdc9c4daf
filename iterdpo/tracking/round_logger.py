"""What a tracker gets of a round: numbers, curves, samples, artifacts and alarms."""

from __future__ import annotations

import json
from typing import Any

from iterdpo.evaluation.summary import Summary
from iterdpo.models.layout import TRAINING_FILE
from iterdpo.records import Policy
from iterdpo.rounds import IterationResult, Round
from iterdpo.store.manifest import MANIFEST
from iterdpo.store.stage import Stored
from iterdpo.tracking.base import StageArtifact, Tracker
from iterdpo.tracking.curves import curve_rows
from iterdpo.tracking.metrics import metrics
from iterdpo.tracking.samples import (
    PAIRS_A_PROMPT,
    Answered,
    distributions,
    pair_rows,
    sample_rows,
)


class RoundLogger:
    """Logs one round after the other to a tracker.

    Args:
        tracker: where to.
        samples: prompts whose answers are shown of an iteration; 0 sends no text at all.
    """

    def __init__(self, tracker: Tracker, samples: int) -> None:
        self._tracker, self._samples = tracker, samples
        self._steps = 0
        self._names: dict[str, str] = {}
        """Of the policies so far, by fingerprint."""
        self._logged: dict[int, set[str]] = {}
        """The names of the numbers logged of each iteration."""

    def log(self, done: Round, summary: Summary) -> None:
        """Log a policy and how it came to be; ``summary`` is that of the run so far."""
        policy = done.policy.value
        if done.made is not None:
            self._log_iteration(done.iteration, done.made)
        self._names.setdefault(policy.fingerprint, policy.name)
        self._log_numbers(done.iteration, summary)
        for alarm in summary.alarms_of(done.iteration):
            self._tracker.alarm(f"{policy.name}: {alarm.name}", alarm.message)

    def log_rest(self, summary: Summary) -> None:
        """Log the numbers that came only after their round."""
        late = {t: self._log_numbers(t, summary) for t in sorted(self._logged)}
        last = max(late, default=0)
        names = set[str]().union(*(new for t, new in late.items() if t != last))
        if names:
            # What was logged last is taken for where the run stands: that is the last model again.
            values = metrics(summary, last)
            self._tracker.metrics(last, {name: values[name] for name in names & values.keys()})

    def _log_numbers(self, iteration: int, summary: Summary) -> set[str]:
        """Log those of an iteration's numbers that were not logged yet; return their names."""
        logged = self._logged.setdefault(iteration, set())
        new = {k: v for k, v in metrics(summary, iteration).items() if k not in logged}
        if new:
            self._tracker.metrics(iteration, new)
            logged.update(new)
        return set(new)

    def _log_iteration(self, iteration: int, made: IterationResult) -> None:
        answered = Answered(
            iteration, made.prompts.value, made.candidates.value, made.judgments.value,
            made.pairs.value.kept,
        )  # fmt: skip
        if made.trained is not None:
            report = json.loads((made.trained.directory / TRAINING_FILE).read_text("utf-8"))
            name = made.trained.value.name
            self._tracker.curve(name, curve_rows(name, report["history"], self._steps))
            self._steps += report["history"][-1]["step"]
        self._tracker.distributions(iteration, distributions(answered))
        if self._samples:
            self._tracker.table(iteration, "samples", sample_rows(answered, self._samples))
            rows = pair_rows(answered, PAIRS_A_PROMPT * self._samples)
            self._tracker.table(iteration, "preference_pairs", rows)
        if made.trained is not None:
            self._log_artifacts(iteration, made, made.trained)

    def _log_artifacts(
        self, iteration: int, made: IterationResult, trained: Stored[Policy]
    ) -> None:
        policy, pairs = trained.value, made.pairs.value.kept
        writer, judge = pairs[0].policy, pairs[0].judge
        known = [self._names.get(fingerprint or "") for fingerprint in (writer, policy.parent)]
        # Where every weight was trained, the policy is a checkpoint of its own.
        kind = "adapter" if policy.adapter else "weights"
        # M0 is the base itself: nothing that was trained has come before it.
        earlier = [(kind, name) for name in dict.fromkeys(known) if name not in (None, "M0")]
        self._tracker.artifact(
            _artifact(
                "pairs", policy.name, made.pairs, iteration, earlier,
                pairs=len(pairs), written_by=self._names.get(writer),
                judged_by=self._names.get(judge),
            )
        )  # fmt: skip
        sha256 = policy.adapter.sha256 if policy.adapter else policy.base.sha256
        self._tracker.artifact(
            _artifact(
                kind, policy.name, trained, iteration,
                [("pairs", policy.name), *earlier],
                fingerprint=policy.fingerprint, sha256=sha256,
                parent=self._names.get(policy.parent or ""), parent_fingerprint=policy.parent,
                base=policy.base.fingerprint, base_sha256=policy.base.sha256,
                quantization=policy.base.quantization, dtype=policy.base.dtype,
            )
        )  # fmt: skip


def _artifact(
    kind: Any,
    name: str,
    stored: Stored[Any],
    iteration: int,
    made_from: Any,
    **metadata: object,
) -> StageArtifact:
    files = stored.manifest["files"]
    assert isinstance(files, dict)
    return StageArtifact(
        kind=kind,
        name=name,
        directory=stored.directory,
        files=(*sorted(files), MANIFEST),
        metadata={
            "name": name,
            "iteration": iteration,
            "stage": f"{stored.stage.name}/{stored.key}",
            "made_from": [f"{of} {which}" for of, which in made_from],
            **metadata,
        },
        made_from=tuple(made_from),
    )
