"""The configuration's schema. Values live in ``conf/``; this module says what they may be.

Every field is required: a default belongs in YAML, where a user sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip

checked = with_config(ConfigDict(extra="forbid", strict=True))


@checked
@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """The adapter's recipe."""

    rank: Count
    """Rank r of the update matrices."""
    alpha: Count
    """Scale: the update is multiplied by alpha / rank."""
    dropout: Share
    """Dropout before the adapter. Switched off in DPO, whose log-probs must be exact."""
    target_modules: str | tuple[str, ...]
    """Modules to adapt: ``all-linear`` or a list of names."""


@checked
@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The base model and how it is held."""

    name: str
    """What reports call it."""
    path: str
    """A checkpoint directory, a hub id, or ``lab`` for the seed model in the package."""
    revision: str | None
    """Hub revision (branch, tag or commit); null for the default branch."""
    quantization: Literal["nf4", "int8", "none"]
    """How the frozen base is stored while training (bitsandbytes)."""
    double_quantization: bool
    """Quantize NF4's own constants too (QLoRA, arXiv 2305.14314, section 3)."""
    dtype: Literal["float32", "bfloat16", "float16"]
    """Type of the unquantized weights and of the computation."""
    attention: str | None
    """``sdpa``, ``eager``, ``flash_attention_2``; null lets transformers choose."""
    context: Count | None
    """Tokens of prompt and answer together; null for what the checkpoint declares."""
    trust_remote_code: bool
    """Run Python code that comes with the checkpoint. Leave it off unless you have read it."""
    adapter: LoraConfig


@checked
@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    """Where instructions come from."""

    source: Literal["lab", "file"]
    path: Path | None
    """File of prompts (JSONL, JSON, CSV, Parquet or text), for ``source: file``."""
    field: str
    """Column that holds the prompt, for ``source: file``."""
    held_out_share: Annotated[float, Field(gt=0, lt=1)]
    """Share of a file's prompts that is kept for evaluation and never trained on."""
    per_iteration: Count
    """New prompts an iteration."""
    system: str | None
    """System message put before every prompt."""


@checked
@dataclass(frozen=True, kw_only=True)
class CandidatesConfig:
    """How the policy answers in the loop; evaluation samples at the same settings."""

    n: Annotated[int, Field(ge=2)]
    """Answers a prompt."""
    temperature: Positive
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: Annotated[int, Field(ge=0)]
    """0 switches it off."""
    max_tokens: Count
    """Longest answer; one that reaches it counts as truncated."""


@checked
@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the model, and where it stays while another model is trained."""

    name: Literal["auto", "vllm", "transformers"]
    """``auto``: vLLM where it is installed and a CUDA device is there, else transformers."""
    device: str
    """``auto``, ``cpu``, ``cuda`` or (transformers only) ``cuda:N``."""
    serve: Literal["dequantized", "original"]
    """``dequantized``: the very weights that training sees. ``original``: those before
    quantization, which differ from them."""
    residency: Literal["auto", "resident", "sleep", "restart"]
    """On one GPU, while training: stay beside the trainer, sleep (weights in the CPU's memory), or
    shut down and start again. ``auto``: stay when a memory estimate says that both fit."""
    max_gap: Positive | None
    """Largest allowed difference of an answer's log-prob between engine and trainer, in nats a
    token; more means that another policy wrote it. Null allows any."""
    threads: Count | None
    """CPU threads; null leaves it to torch. Sums are rounded differently with another number."""
    part_rows: Count
    """Answers or judgments that are written down together: what a kill costs at most."""
    batch_size: Count
    """transformers: answers written side by side, never across two parts."""
    max_sequences: Count
    """vLLM: most answers written side by side."""
    tensor_parallel: Count
    """vLLM: GPUs that one model is split over."""
    memory_share: Annotated[float, Field(gt=0, lt=1)] | None
    """vLLM: share of a GPU's memory that it may take; null for what training leaves."""
    cache_gib: Positive
    """vLLM on CPU: memory of the key-value cache, in GiB."""
    eager: bool | None
    """vLLM: run without compiling; null compiles on a GPU only."""


@checked
@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Who judges, by what rubric, and how a score is read."""

    model: Literal["current", "initial"]
    """``current``: the policy of the iteration judges itself. ``initial``: always M0."""
    rubric: str
    """``lab``, ``additive``, or a path to a Jinja file."""
    score: Literal["expected", "sampled"]
    """``expected``: mean over the score tokens' probabilities. ``sampled``: verdicts are written,
    read and averaged."""
    samples: Count
    """Verdicts a candidate, for ``sampled``."""
    temperature: NonNegative
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: Count
    min_readable: Share
    """With a smaller readable share, a sampled judgment is unscored."""
    min_scored: Share
    """An iteration stops when a smaller share of its answers got a score."""
    min_mass: Share
    """With less probability on the score tokens, an expected judgment is unscored."""
    low: int
    high: int
    system: str | None


@checked
@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """How judged candidates become preference pairs."""

    strategy: Literal["best_worst", "top_bottom"]
    k: Count
    """Prospective pairs a prompt (1 for ``best_worst``)."""
    min_margin: NonNegative
    """Smallest score difference of a pair."""
    on_empty: Literal["stop", "skip"]
    """When an iteration yields no pair: stop, or keep the policy and go on."""


@checked
@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """DPO on one iteration's pairs (TRL's DPOTrainer)."""

    beta: Positive
    """Strength of the pull to the reference (DPO, arXiv 2305.18290, equation 7)."""
    loss: tuple[Loss, ...]
    """TRL's names; several are summed with ``loss_weights``."""
    loss_weights: tuple[NonNegative, ...]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    """Share of flipped labels assumed by ``robust`` and ``exo_pair``."""
    reference: Literal["previous", "initial", "base"]
    """What DPO measures against: the policy that wrote the pairs, M0, or the bare base."""
    learning_rate: Positive
    schedule: Literal["constant", "linear", "cosine"]
    warmup: Share
    """Share of the steps over which the learning rate rises."""
    epochs: Positive
    batch_size: Count
    """Pairs an optimizer step."""
    micro_batch_size: Count
    """Pairs side by side; ``batch_size`` must be a multiple."""
    max_grad_norm: Positive
    weight_decay: NonNegative
    optimizer: str
    """A name of transformers' ``OptimizerNames``, such as ``adamw_torch``."""
    gradient_checkpointing: bool
    max_length: Count | None
    """Longest prompt plus answer in tokens; longer ends are cut. Null for no limit."""
    checkpoint_steps: Count | None
    """Optimizer steps between checkpoints: the most that a kill costs. Null for none."""
    process: Literal["inline", "spawn"]
    """Train in this process, or in a child that gives its memory back for certain."""
    step0_tolerance: Positive
    """Largest allowed difference, in nats, between the first batch's loss and log-probs and
    independently computed ones."""


@checked
@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured of every model, on prompts that never enter training."""

    oracle: Literal["lab", "none"]
    """An exact score of any answer, where the world has one."""
    prompts: Count
    """Held-out prompts."""
    samples: Count
    """Sampled answers to each, at the candidates' settings."""
    fixed_prompts: Count
    """Held-out prompts whose answers by M0 are the judge's fixed labelled set."""
    fixed_samples: Count


@checked
@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where metrics go besides the run directory."""

    name: Literal["wandb", "none"]
    project: str
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]
    """``auto``: online when logged in, else offline."""
    group: str | None
    tags: tuple[str, ...]


@checked
@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where finished stages are kept, for every run to share."""

    root: Path


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a run is told."""

    iterations: Count
    seed: Seed
    plan: bool
    """Print what each stage would do, and why, and run nothing."""
    model: ModelConfig
    prompts: PromptsConfig
    candidates: CandidatesConfig
    engine: EngineConfig
    judge: JudgeConfig
    pairs: PairsConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    tracking: TrackingConfig
    store: StoreConfig
