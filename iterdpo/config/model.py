"""The model and what runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from iterdpo.config.types import Count, Positive, Share, checked


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

    name: str
    """What reports call it."""
    path: str
    """A checkpoint directory, a hub id, or ``lab`` for the seed model in the package."""
    revision: str | None
    """Hub revision (branch, tag or commit); null for the default branch."""
    quantization: Literal["nf4", "int8", "none", "gptq", "awq"]
    """How the frozen base is stored while training. ``nf4`` and ``int8`` quantize it on loading
    (bitsandbytes); ``gptq`` and ``awq`` take a checkpoint that comes quantized so."""
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
    trust_remote_code: bool
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
