"""Runs that differ in their settings, compared honestly: seeds pooled, differences paired.

Answers to one held-out prompt are one cluster, whichever run they come from (arXiv 2411.00640), so
that runs of several seeds that share a prompt do not count it twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from iterdpo.config.choices import TARGET
from iterdpo.config.keyless import is_inert
from iterdpo.evaluation.resampling import outcome_gap_ci, win_rate_ci
from iterdpo.evaluation.statistics import Estimate, mean_ci
from iterdpo.tools.report.settings import Settings, differing

SEED = "seed"

ByPrompt = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Member:
    """One run of a comparison."""

    index: int
    """Its place among the runs of the page."""
    settings: Settings
    scores: ByPrompt
    """Scores of its compared model by held-out prompt."""
    tokens: float
    """Mean length of that model's answers."""
    share: bool = False
    """Whether the scores are shares in [0, 1]."""

    @property
    def seed(self) -> str:
        return self.settings.get(SEED, "")


@dataclass(frozen=True)
class RunGroup:
    """All runs of one choice of the keys that differ."""

    values: tuple[str, ...]
    members: tuple[Member, ...]

    @property
    def scores(self) -> dict[str, list[float]]:
        """The scores of all its runs, by prompt."""
        pooled: defaultdict[str, list[float]] = defaultdict(list)
        for member in self.members:
            for prompt, scores in member.scores.items():
                pooled[prompt].extend(scores)
        return pooled

    @property
    def quality(self) -> Estimate:
        return win_rate_ci(self.scores) if self.share else mean_ci(self.scores)

    @property
    def share(self) -> bool:
        return any(member.share for member in self.members)

    @property
    def tokens(self) -> float:
        return fmean(member.tokens for member in self.members)

    @property
    def seeds(self) -> list[str]:
        return sorted({member.seed for member in self.members})

    @property
    def by_seed(self) -> list[tuple[str, float]]:
        """The seed of each run with its quality alone: what another training may come to."""
        members = sorted(self.members, key=_seed_order)
        return [(member.seed, RunGroup((), (member,)).quality.mean) for member in members]


@dataclass(frozen=True)
class SettingsComparison:
    """Settings from the best to the worst, and how far the best is ahead of each."""

    keys: tuple[str, ...]
    """The keys that differ, the seed and what changes no result left out."""
    settings: tuple[RunGroup, ...]
    ahead: tuple[Estimate | None, ...]
    """Best - setting, paired by seed and prompt; None for the best, and where no prompt is shared.
    """
    ahead_by_seed: tuple[tuple[float, ...], ...]
    """See ``lead_by_seed``; nothing for the best."""

    @property
    def best(self) -> RunGroup:
        return self.settings[0]


def compared_keys(runs: Sequence[Settings]) -> tuple[str, ...]:
    """Return the keys that tell the runs apart: not the seed, nor what changes no result."""
    end = f".{TARGET}"
    named = {key.removesuffix(end): run[key] for run in runs for key in run if key.endswith(end)}
    return tuple(key for key in differing(runs) if key != SEED and not is_inert(key, named))


def compare(members: Sequence[Member]) -> SettingsComparison:
    """Pool runs that differ only in their seed, and put the settings in order of their quality.

    Raises:
        ValueError: there is no run, or one without scores.
    """
    keys = compared_keys([member.settings for member in members])
    groups: defaultdict[tuple[str, ...], list[Member]] = defaultdict(list)
    for member in members:
        groups[tuple(member.settings.get(key, "") for key in keys)].append(member)
    settings = [RunGroup(values, tuple(group)) for values, group in groups.items()]
    settings.sort(key=lambda setting: -setting.quality.mean)
    ahead = [None, *(lead(settings[0], other) for other in settings[1:])]
    by_seed = [(), *(lead_by_seed(settings[0], other) for other in settings[1:])]
    return SettingsComparison(keys, tuple(settings), tuple(ahead), tuple(by_seed))


def name_of(compared: SettingsComparison, setting: RunGroup) -> str:
    """Return ``training.beta=0.1``: what tells a setting from the others."""
    named = zip(compared.keys, setting.values, strict=True)
    return ", ".join(f"{key}={value}" for key, value in named) or "all runs"


def lead(one: RunGroup, other: RunGroup) -> Estimate | None:
    """Return the mean of one - other with its paired interval, or None where no prompt is shared.

    Runs of the same seed are paired, where both sides have exactly one run of every seed that
    either has; else the pooled scores. Prompts that one side lacks are left out. Shares have the
    interval of a win rate: mean ± t · SE of two wins of two is of width 0.
    """
    gaps: defaultdict[str, list[float]] = defaultdict(list)
    for a, b in _partners(one, other):
        for prompt in a.keys() & b.keys():
            gaps[prompt].append(fmean(a[prompt]) - fmean(b[prompt]))
    # In one order whatever a set's is, so that sums are rounded alike every time.
    if not gaps:
        return None
    ordered = {prompt: gaps[prompt] for prompt in sorted(gaps)}
    return outcome_gap_ci(ordered) if one.share else mean_ci(ordered)


def lead_by_seed(one: RunGroup, other: RunGroup) -> tuple[float, ...]:
    """Return the mean of one - other at each seed, in the order of the seeds.

    Nothing where there is but one, or the seeds are not the same. The interval of ``lead`` is for
    other prompts; these say whether the trainings agree.
    """
    if len(one.members) == 1 or not _same_seeds(one, other):
        return ()
    runs = (RunGroup((), (member,)) for member in sorted(one.members, key=_seed_order))
    theirs = {member.seed: RunGroup((), (member,)) for member in other.members}
    leads = [lead(run, theirs[run.seeds[0]]) for run in runs]
    return tuple(found.mean for found in leads if found is not None)


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation of trainings of one setting; None of fewer than two."""
    return stdev(values) if len(values) > 1 else None


def significant(ahead: Estimate | None) -> bool:
    """Say whether 0 lies outside the interval."""
    return ahead is not None and ahead.low is not None and ahead.low > 0


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Say of each (length, quality) whether no other is as short and as good, and better in one."""
    return [
        not any(
            (other_length <= length and other >= quality)
            and (other_length < length or other > quality)
            for other_length, other in points
        )
        for length, quality in points
    ]


def _partners(one: RunGroup, other: RunGroup) -> list[tuple[ByPrompt, ByPrompt]]:
    if _same_seeds(one, other):
        theirs = {member.seed: member.scores for member in other.members}
        return [(member.scores, theirs[member.seed]) for member in one.members]
    return [(one.scores, other.scores)]


def _same_seeds(one: RunGroup, other: RunGroup) -> bool:
    return one.seeds == other.seeds and all(
        len(side.seeds) == len(side.members) for side in (one, other)
    )


def _seed_order(member: Member) -> tuple[int, str]:
    return len(member.seed), member.seed  # 2 before 10
