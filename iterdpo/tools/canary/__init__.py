"""Whether anybody's server really applies an adapter: it writes, and what it wrote is scored here.

Nothing is asked for but texts with their log-probs: ``echo`` and ``prompt_logprobs``, by which a
server would score texts of ours, fail where vLLM serves adapters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iterdpo.models.hardware import Dtype
    from iterdpo.tools.canary.verdict import ServedVerdict

__all__ = ["check_server"]

LEAST_TEXTS = 8


def check_server(
    base: Path | str,
    adapter: Path | str,
    url: str,
    name: str,
    *,
    texts: int = 64,
    max_tokens: int = 256,
    prompts: Path | str | Sequence[str] | None = None,
    field: str = "prompt",
    dtype: Dtype = "float32",
    device: str = "auto",
    key: str | None = None,
    trust_remote_code: bool = False,
) -> ServedVerdict:
    """Say whether the model ``name`` of a server is ``base`` with ``adapter``.

    Args:
        base: a checkpoint: a directory, or an id on the hub.
        adapter: directory of an adapter in PEFT's layout.
        url: of an OpenAI-compatible server, mostly ending in ``/v1``.
        name: what the server calls the adapter.
        texts: how many it is to write, 8 or more.
        max_tokens: longest text.
        prompts: a file (JSONL, JSON, CSV, Parquet, text) or the prompts themselves; ours by
            default.
        field: the file's column that holds the prompt.
        dtype: to compute in here. float32 has next to no noise of its own; half types need half the
            memory, and a larger movement for a verdict.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        key: sent as a bearer token.
        trust_remote_code: run code that the checkpoint brings.

    Raises:
        UserError: base, adapter, server or prompts cannot be used, or do not belong together.
    """
    from iterdpo.errors import UserError
    from iterdpo.models.chat_messages import Request
    from iterdpo.runtime.progress import progress
    from iterdpo.runtime.quiet import quiet_libraries
    from iterdpo.tools.canary.local import LocalModel
    from iterdpo.tools.canary.prompts import prompts_of
    from iterdpo.tools.canary.server import CompletionServer
    from iterdpo.tools.canary.verdict import LARGEST_NOISE, judge_served

    if texts < LEAST_TEXTS:
        raise UserError(f"--texts={texts}: must be at least {LEAST_TEXTS}")
    asked = prompts_of(prompts, field)
    with closing(CompletionServer(url, key)) as server:
        served_base = server.base_of(name)
        quiet_libraries()
        with closing(LocalModel(base, adapter, dtype, device, trust_remote_code)) as local:
            encoded = [local.chat.encode(Request.of(text)) for text in asked]
            local.require_movement(encoded)
            rows = [encoded[number % len(encoded)] for number in range(texts)]

            # One model after the other: vLLM on a CPU mixes them up within a batch.
            written = list(
                progress(server.write(name, rows, max_tokens, local.vocabulary), texts,
                         f"{name} writes", "texts")
            )  # fmt: skip
            noise = None
            if served_base is not None:
                few = rows[: max(LEAST_TEXTS, texts // 4)]
                known = list(
                    progress(server.write(served_base, few, max_tokens, local.vocabulary),
                             len(few), f"{served_base} writes", "texts")
                )  # fmt: skip
                values = local.score([text.sequence for text in known], adapted=False)
                noise = _rms([text.logprobs for text in known], values)
                if noise > LARGEST_NOISE:
                    raise UserError(
                        f"{url}: its base, {served_base}, is {noise:.2f} nats a token off "
                        f"BASE={base}: other weights, a quantization of few bits, an adapter in "
                        "them, or log-probs of other settings (vLLM's --logprobs-mode); nothing "
                        "can be said of an adapter on it"
                    )
            sequences = [text.sequence for text in written]
            return judge_served(
                [text.logprobs for text in written],
                local.score(sequences, adapted=True),
                local.score(sequences, adapted=False),
                noise=noise,
                exact=dtype == "float32",
            )


def _rms(rows: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    gaps = [
        one - other
        for row, their in zip(rows, others, strict=True)
        for one, other in zip(row, their, strict=True)
    ]
    return math.sqrt(math.fsum(gap * gap for gap in gaps) / len(gaps))
