"""Means and differences with honest intervals: answers to one prompt are not independent.

After Adding Error Bars to Evals (arXiv 2411.00640): standard errors clustered by prompt, and
paired differences. Intervals are 95 %, from Student's t with one degree of freedom fewer than there
are clusters.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Values = Mapping[Key, Sequence[float]]
"""Values by cluster: by prompt, or by (run, prompt)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval. ``low`` and ``high`` are None where one cluster is all."""

    mean: float
    low: float | None
    high: float | None
    n: int
    """Values in the mean: answers, or prompts for a paired difference."""
    clusters: int
    """Independent groups of them."""


def mean_ci(values_by_cluster: Values[Key]) -> Estimate:
    """Return the mean over all values, its interval clustered; clusters may differ in size.

    With x_ci value i of cluster c, n values in G clusters and their overall mean m:
    SE² = G / (G - 1) · sum over c of (sum over i of (x_ci - m))² / n²
    which for clusters of equal size is the standard error of the mean of the cluster means.

    Raises:
        ValueError: there is no value, or a cluster is empty.
    """
    clusters = list(values_by_cluster.values())
    if not clusters or not all(clusters):
        raise ValueError("no values, or a cluster without any")
    values = [value for cluster in clusters for value in cluster]
    mean, count = fmean(values), len(clusters)
    if count == 1:
        return Estimate(mean, None, None, len(values), 1)
    squares = math.fsum(math.fsum(x - mean for x in cluster) ** 2 for cluster in clusters)
    error = math.sqrt(count / (count - 1) * squares) / len(values)
    half = _t_quantile(count - 1) * error
    return Estimate(mean, mean - half, mean + half, len(values), count)


def paired_difference(a_by_prompt: Values[Key], b_by_prompt: Values[Key]) -> Estimate:
    """Return the mean over prompts of mean(a) - mean(b), with its paired interval.

    Every prompt weighs the same, however many answers it has.

    Raises:
        ValueError: the prompts are not the same, there is none, or one has no values.
    """
    if a_by_prompt.keys() != b_by_prompt.keys():
        odd = sorted(map(str, a_by_prompt.keys() ^ b_by_prompt.keys()))
        raise ValueError(f"{len(odd)} prompts are on one side only, such as {odd[0]}")
    if not all(a_by_prompt.values()) or not all(b_by_prompt.values()):
        raise ValueError("a prompt without values")
    return mean_ci(
        {key: [fmean(values) - fmean(b_by_prompt[key])] for key, values in a_by_prompt.items()}
    )


def _t_quantile(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))
