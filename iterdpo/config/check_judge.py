"""What a judge's settings allow one by one but not together."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from iterdpo.config.judging import EndpointConfig, JudgeConfig
from iterdpo.config.urls import may_hold_secret, names_server

_VERDICTS: Final = ("samples", "temperature", "top_p", "max_tokens")
_RANGE: Final = ("low", "high")
# Capital letters alone, as is the custom: many a key would pass for a name otherwise.
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")

READS: Final = MappingProxyType(
    {
        "self": ("model", "rubric", "score", *_VERDICTS, "min_readable", "min_mass", *_RANGE),
        "pairwise": ("pairwise", "model", "rubric", "min_readable", "min_mass", *_RANGE),
        "pairrm": ("pairrm",),
        "reward_model": ("reward_model",),
        "endpoint": ("endpoint", "rubric", *_VERDICTS, "min_readable", *_RANGE),
        "human": ("labels", *_RANGE),
    }
)
"""By kind of judge, the settings that it needs, its own section first. Others must be null."""

_BY_KIND: Final = tuple(dict.fromkeys(name for names in READS.values() for name in names))
_TALKS: Final = ("self", "pairwise", "endpoint")
"""The kinds that read ``judge.system``, which may be null for any."""


def judge_problems(judge: JudgeConfig) -> list[str]:
    """Return one line for each contradiction in a judge's settings."""
    own = READS[judge.kind][0]
    if getattr(judge, own) is None and judge.kind != "self":
        # Its own section first: without it, the rest are another judge's settings.
        choice = "judge.labels=FILE" if judge.kind == "human" else f"judge={judge.kind}"
        return [f"judge.{own}=null: judge.kind={judge.kind} needs it; choose {choice}"]
    problems = [problem for name in _BY_KIND if (problem := _presence(judge, name))]
    if judge.system is not None and judge.kind not in _TALKS:
        problems.append(f"judge.system: judge.kind={judge.kind} does not read it; set it to null")
    problems += _range_problems(judge)
    if judge.kind == "endpoint" and judge.endpoint is not None:
        problems += _endpoint_problems(judge.endpoint)
    return problems


def _presence(judge: JudgeConfig, name: str) -> str | None:
    value, needed = getattr(judge, name), name in READS[judge.kind]
    if needed and value is None:
        return f"judge.{name}=null: judge.kind={judge.kind} needs it"
    if not needed and value is not None:
        shown = f"={value}" if isinstance(value, str | int | float) else ""
        return f"judge.{name}{shown}: judge.kind={judge.kind} does not read it; set it to null"
    return None


def _range_problems(judge: JudgeConfig) -> list[str]:
    low, high = judge.low, judge.high
    if low is None or high is None:
        return []
    problems = []
    if low >= high:
        problems.append(f"judge.low={low}: must be below judge.high={high}")
    if judge.score == "expected" and not 0 <= low < high <= 9:
        problems.append(
            f"judge.high={high}: judge.score=expected reads one token, so scores must lie "
            "in 0..9; use judge.score=sampled for a wider range"
        )
    if judge.rubric in ("additive", "lab") and (low, high) != (0, 5):
        problems.append(
            f"judge.high={high}: the rubric {judge.rubric} gives 0 to 5 points; set "
            "judge.low=0 judge.high=5 or bring your own rubric"
        )
    return problems


def _endpoint_problems(endpoint: EndpointConfig) -> list[str]:
    problems = []
    if may_hold_secret(endpoint.base_url):
        problems.append(
            "judge.endpoint.base_url: holds credentials or a query; put the key into an "
            "environment variable and its name into judge.endpoint.api_key_env"
        )
    elif not names_server(endpoint.base_url):
        problems.append(
            f"judge.endpoint.base_url={endpoint.base_url}: give a URL such as "
            "http://localhost:8000/v1"
        )
    if endpoint.model is None:
        problems.append(
            "judge.endpoint.model=null: name the server's model, judge.endpoint.model=NAME"
        )
    if endpoint.api_key_env is not None and not _VARIABLE.fullmatch(endpoint.api_key_env):
        # Not shown either.
        problems.append(
            "judge.endpoint.api_key_env: is no name of an environment variable, in capital letters "
            "as in OPENAI_API_KEY; the key itself belongs into the variable"
        )
    if endpoint.budget is not None and not (endpoint.price_in or endpoint.price_out):
        problems.append(
            f"judge.endpoint.budget={endpoint.budget:g}: nothing has a price; set "
            "judge.endpoint.price_in and judge.endpoint.price_out, per million tokens"
        )
    return problems
