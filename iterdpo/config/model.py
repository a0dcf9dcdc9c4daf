"""The model and what runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from iterdpo.config.choices import Choice
from iterdpo.config.types import Count, Positive, Share, Source, checked
from iterdpo.settings import CountsElsewhere, Keyless

_BY_TEMPLATE = "counts by what the checkpoint's chat template makes of it, in the engine's identity"


def _as_word(value: object) -> object:
    """Return ``on`` and ``off`` as they were written: to YAML they are truth values."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


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
    path: Annotated[Source, CountsElsewhere("counts by what lies there: its files' hash")]
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
    thinking: Annotated[
        Literal["auto", "on", "off"], BeforeValidator(_as_word), CountsElsewhere(_BY_TEMPLATE)
    ]
    """Whether the model thinks before it answers; ``auto`` leaves it to the chat template."""
    thought_marks: Annotated[tuple[str, str] | None, CountsElsewhere(_BY_TEMPLATE)]
    """What opens and what closes a thought; null finds them in the chat template."""
    template_arguments: Annotated[Mapping[str, Any], CountsElsewhere(_BY_TEMPLATE)]
    """What the chat template is given beside the messages, such as ``reasoning_effort: low``."""
    adapter: LoraConfig | None
    """Null trains every weight: with ``quantization: none``, in float32, two models in memory."""

    @property
    def scheme(self) -> str:
        """The quantization as records carry it."""
        if self.quantization == "nf4" and self.double_quantization:
            return "nf4-double"
        return self.quantization


@checked
@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the model."""

    choice: Choice
    """An ``engines.base.EngineFactory``."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    """``auto``, ``cpu``, ``cuda`` or (transformers only) ``cuda:N``."""
    max_gap: Annotated[Positive | None, Keyless("stops a run, changes none")]
    """Largest allowed difference of an answer's log-prob between engine and trainer, in nats a
    token; more means that another policy wrote it. Null allows any."""
    threads: Annotated[
        Count | None, Keyless("speed; sums may round differently, as on another machine")
    ]
    """CPU threads; null leaves it to torch. Sums are rounded differently with another number."""

    @property
    def serve(self) -> Literal["dequantized", "original"]:
        """Which weights it serves: ``dequantized``, those that training sees, or ``original``."""
        original = self.choice.settings.get("serve") == "original"
        return "original" if original else "dequantized"

    def but(self, **settings: object) -> EngineConfig:
        """Return the same with other settings, as far as the choice has them."""
        own = self.choice.settings
        changed = {**own, **{name: value for name, value in settings.items() if name in own}}
        return replace(self, choice=replace(self.choice, settings=changed))
