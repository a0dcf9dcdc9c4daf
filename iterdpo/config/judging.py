"""How answers are judged, and how judgments become pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.choices import Choice
from iterdpo.config.types import Count, NonNegative, Place, Positive, Share, checked
from iterdpo.settings import Keyless

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["float32", "bfloat16", "float16"]


@checked
@dataclass(frozen=True, kw_only=True)
class PairwiseConfig:
    """The policy compares the answers to a prompt two by two, in both orders."""

    comparisons: Literal["all"] | Annotated[int, Field(ge=2)]
    """How many others each answer meets: all, or about so many, shared out evenly."""


@checked
@dataclass(frozen=True, kw_only=True)
class PairRmConfig:
    """PairRM, a small ranker of pairs (LLM-Blender, arXiv 2306.02561)."""

    path: str
    """A checkpoint directory or a hub id, in the layout of ``llm-blender/PairRM-hf``."""
    revision: str | None
    """The hub's branch, tag or commit."""
    device: Device
    dtype: Dtype
    batch_size: Count
    """Comparisons in one forward pass."""
    source_tokens: Annotated[int, Field(ge=16)]
    """Longest prompt; what is longer is cut at its end."""
    candidate_tokens: Annotated[int, Field(ge=16)]
    """Longest answer, likewise; more where the prompt leaves room."""


@checked
@dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """Any sequence classifier with one label."""

    path: str
    """A checkpoint directory or a hub id."""
    revision: str | None
    """The hub's branch, tag or commit."""
    device: Device
    dtype: Dtype
    batch_size: Count
    """Answers in one forward pass."""
    context: Count | None
    """Longest prompt and answer in tokens; null for what the model declares."""
    chat_template: Place | None
    """A Jinja file, where the tokenizer has no template or the wrong one."""


@checked
@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """A model behind an OpenAI-compatible endpoint: a hosted one, or a local server."""

    base_url: str
    """Up to where ``/chat/completions`` is added; it mostly ends in ``/v1``."""
    model: str | None
    """The model's name at the server."""
    api_key_env: str | None
    """Name of the environment variable that holds the key; null for a server that asks for none.
    The key itself is written nowhere."""
    send_seed: bool
    """Send a seed with each request. False for servers that know none."""
    limit_name: Literal["max_tokens", "max_completion_tokens"]
    """What the server calls the longest answer."""
    concurrency: Count
    """Requests under way at once."""
    requests_per_minute: Count | None
    timeout_seconds: Positive
    retries: Annotated[int, Field(ge=0)]
    """Further tries after overload, rate limits, timeouts and broken answers."""
    price_in: NonNegative
    """Price of a million tokens read, in any currency."""
    price_out: NonNegative
    """Price of a million tokens written."""
    budget: Positive | None
    """The run stops, and keeps what it has, after spending this much since its start."""


@checked
@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Who judges, and how a score is read. What a kind of judge does not read is null."""

    kind: Literal["self", "pairwise", "pairrm", "reward_model", "endpoint", "human"]
    """``self``: a policy scores answers by a rubric. ``pairwise``: it compares them. ``pairrm``,
    ``reward_model``: a model of their own. ``endpoint``: a model behind a URL. ``human``: people's
    comparisons from a file."""
    model: Literal["current", "initial"] | None
    """For ``self`` and ``pairwise``. ``current``: the policy of the iteration judges itself.
    ``initial``: always M0."""
    rubric: str | None
    """``lab``, ``additive``, or a path to a Jinja file; for ``pairwise``, ``better`` or a path."""
    score: Literal["expected", "sampled"] | None
    """``expected``: mean over the score tokens' probabilities. ``sampled``: verdicts are written,
    read and averaged."""
    samples: Count | None
    """Verdicts a candidate, where they are written."""
    temperature: NonNegative | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    max_tokens: Count | None
    min_readable: Share | None
    """With a smaller readable share of its verdicts or comparisons, a judgment is unscored."""
    min_scored: Annotated[Share, Keyless("stops a run, changes none")]
    """An iteration stops when a smaller share of its answers got a score."""
    min_mass: Share | None
    """With less probability on what may be answered, an expected score or a comparison is
    unscored."""
    low: int | None
    """The lowest score. Null where scores have no bounds."""
    high: int | None
    system: str | None
    pairwise: PairwiseConfig | None
    pairrm: PairRmConfig | None
    reward_model: RewardModelConfig | None
    endpoint: EndpointConfig | None
    labels: Place | None
    """People's comparisons, as ``python -m iterdpo.label`` writes them."""

    @property
    def scale(self) -> tuple[float, float] | None:
        """The lowest and the highest score; None where scores have no bounds."""
        if self.low is None or self.high is None:
            return None
        return float(self.low), float(self.high)


@checked
@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """How judged candidates become preference pairs, or where pairs come from that are there."""

    choice: Choice
    """A ``pairing.Strategy``, or ``pairing.offline.OfflineDataset``."""
    min_margin: NonNegative
    """Smallest score difference of a pair."""
    on_empty: Annotated[Literal["stop", "skip"], Keyless("stops a run, changes none")]
    """When an iteration yields no pair: stop, or keep the policy and continue."""
