"""The model and what runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.types import Count, Positive, Share, checked
from iterdpo.settings import CountsElsewhere, Keyless


@checked
@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """The adapter's recipe."""

    rank: Count
    """Rank r of the update matrices."""
    alpha: Count
    """Scale: the update is multiplied by alpha / rank."""
    dropout: Share
    """Dropout before the adapter, in supervised fine-tuning. DPO's log-probs must be exact, and it
    has none."""
    target_modules: str | tuple[str, ...]
    """Modules to adapt: ``all-linear`` or a list of names."""


@checked
@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The base model and how it is held."""

    name: Annotated[str, Keyless("what reports call it")]
    """What reports call it."""
    path: Annotated[str, CountsElsewhere("counts by what lies there: its files' hash")]
    """A checkpoint directory, a hub id, or ``lab`` for the seed model in the package."""
    revision: Annotated[str | None, CountsElsewhere("likewise")]
    """Hub revision (branch, tag or commit); null for the default branch."""
    quantization: Literal["nf4", "int8", "none", "gptq", "awq"]
    """How the frozen base is stored while training. ``nf4`` and ``int8`` quantize it on loading
    (bitsandbytes); ``gptq`` and ``awq``, which are experimental, take a checkpoint that comes
    quantized so."""
    double_quantization: bool
    """Quantize NF4's own constants too (QLoRA, arXiv 2305.14314, section 3)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    """Type of the unquantized weights and of the computation. ``auto``: bfloat16 where the GPU
    computes in it, float16 on an older one, float32 on a CPU."""
    attention: str | None
    """``sdpa``, ``eager``, ``flash_attention_2``; null lets transformers choose. ``auto``: flash
    attention where it is installed and the GPU and the type allow it, else ``sdpa``."""
    context: Count | None
    """Tokens of prompt and answer together; null for what the checkpoint declares."""
    trust_remote_code: Annotated[bool, Keyless("whether code may run, not what it does")]
    """Run Python code that comes with the checkpoint. Leave it off unless you have read it."""
    adapter: LoraConfig | None
    """Null trains every weight: with ``quantization: none``, in float32, two models in memory."""


@checked
@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the model, and where it stays while another model is trained."""

    name: Literal["auto", "vllm", "transformers"]
    """``auto``: vLLM where it is installed and a CUDA device is there, else transformers."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    """``auto``, ``cpu``, ``cuda`` or (transformers only) ``cuda:N``."""
    serve: Literal["dequantized", "original"]
    """``dequantized``: the very weights that training sees; of gptq and awq, the checkpoint itself.
    ``original``: those before quantization, which differ from them."""
    residency: Annotated[
        Literal["auto", "resident", "sleep", "restart"],
        Keyless("where the engine waits while training"),
    ]
    """On one GPU, while training: stay beside the trainer, sleep (weights in the CPU's memory), or
    shut down and start again. ``auto``: stay when a memory estimate says that both fit."""
    max_gap: Annotated[Positive | None, Keyless("stops a run, changes none")]
    """Largest allowed difference of an answer's log-prob between engine and trainer, in nats a
    token; more means that another policy wrote it. Null allows any."""
    threads: Annotated[
        Count | None, Keyless("speed; sums may round differently, as on another machine")
    ]
    """CPU threads; null leaves it to torch. Sums are rounded differently with another number."""
    part_rows: Count
    """Answers or judgments that are written down together: what a kill costs at most."""
    batch_size: Count
    """transformers: answers written side by side, never across two parts."""
    max_sequences: Annotated[Count, Keyless("speed of vLLM, whose rows are independent")]
    """vLLM: most answers written side by side."""
    tensor_parallel: Annotated[Count, Keyless("place")]
    """vLLM: GPUs that one model is split over."""
    memory_share: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, Keyless("memory")]
    """vLLM: share of a GPU's memory that it may take; null for what training leaves."""
    cache_gib: Annotated[Positive, Keyless("memory")]
    """vLLM on CPU: memory of the key-value cache, in GiB."""
    eager: Annotated[bool | None, Keyless("speed")]
    """vLLM: run without compiling; null compiles on a GPU only."""
