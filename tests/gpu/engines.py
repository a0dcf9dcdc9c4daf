"""Engines for small models on a GPU, what tells their answers apart, and the card's memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Literal

from iterdpo.engines.base import Completion, Engine, TokenSequence
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.engines.vllm import VllmEngine
from iterdpo.engines.vllm_process import VllmSettings
from iterdpo.records import Policy
from tests.engines.test_vllm import GREEDY, requests
from tests.logprobs import sums
from tests.narrowing import answered

Residency = Literal["resident", "sleep", "restart"]

VLLM_SHARE = 0.15
"""Of the card's memory: enough for every model here, and it leaves room for a trainer."""

DTYPE = "float16"
"""vLLM's kernels for adapters know half types only, and of these this one rounds less."""

TIES = {"float32": 0.0, "float16": 0.05, "bfloat16": 0.3}
"""Nats by which the two best tokens may differ where two engines choose differently. A bfloat16
between 8 and 16 is rounded by up to 1/32, one between 16 and 32 by up to 1/16, a float16 by an
eighth of that; the logits of both tokens are, in both engines, and so are the layers before."""

LIES = r"asked for M1 and answers|of M1's texts like"
"""What an engine is told that answers with another policy than M1."""


def answers(engine: Engine, policy: Policy) -> list[Completion]:
    """Return the greedy answers of ``policy`` to sixteen prompts of the lab."""
    return answered(engine.generate(requests(16), policy, GREEDY))


def load_nothing(engine: TransformersEngine, policy: Policy) -> None:
    """Put an adapter whose update is zero where the policy's own should be."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules="all-linear")
    engine._model = get_peft_model(engine._model, config, adapter_name=policy.fingerprint)
    engine._model.eval()
    engine._adapters.append(policy.fingerprint)


def vllm_engine(device: str, dtype: str, residency: Residency = "resident") -> VllmEngine:
    """Return vLLM for small models, not started yet."""
    return VllmEngine(
        VllmSettings(
            device=device,
            dtype=dtype,
            residency=residency,
            memory_share=VLLM_SHARE,
            cache_gib=0.3,
            eager=True,
        )
    )


def transformers_engine(
    device: str, dtype: str, residency: Residency = "resident"
) -> TransformersEngine:
    """Return transformers with PEFT for the lab's model, not loaded yet."""
    return TransformersEngine(
        TransformersSettings(device=device, dtype=dtype, residency=residency, attention="eager")
    )


def ties(
    reference: Engine,
    policy: Policy,
    answers: Sequence[Completion],
    expected: Sequence[Completion],
) -> list[float]:
    """Return, for each greedy answer that differs, how far the two choices lie apart, in nats.

    At the first token that differs, the reference's log-prob of its own choice over that of the
    other: after it, the two answer different questions.
    """
    pairs: list[TokenSequence] = []
    for ours, theirs in zip(answers, expected, strict=True):
        assert ours.prompt_token_ids == theirs.prompt_token_ids
        if ours.token_ids == theirs.token_ids:
            continue
        same = 0
        while ours.token_ids[same] == theirs.token_ids[same]:
            same += 1
        prefix = (*theirs.prompt_token_ids, *theirs.token_ids[:same])
        pairs += [TokenSequence(prefix, (one.token_ids[same],)) for one in (theirs, ours)]
    values = sums(reference.sequence_logprobs(pairs, policy))
    return [abs(a - b) for a, b in zip(values[::2], values[1::2], strict=True)]


def used_memory() -> int:
    """Return the bytes in use on the card, by whatever process."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


def settles_below(limit: float, seconds: float) -> int:
    """Return the memory in use once it is below ``limit`` bytes, or after ``seconds``.

    A process that ends gives its memory back a little later.
    """
    end = time.monotonic() + seconds
    while (used := used_memory()) >= limit and time.monotonic() < end:
        time.sleep(0.2)
    return used
