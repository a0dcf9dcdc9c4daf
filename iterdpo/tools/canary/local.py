"""The base with and without the adapter, on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from iterdpo.engines.base import TokenSequence
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.errors import LineageError, UserError
from iterdpo.models.accelerators import require_device
from iterdpo.models.chat_template import Chat
from iterdpo.models.checkpoint import find_checkpoint
from iterdpo.models.hardware import Dtype
from iterdpo.models.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from iterdpo.models.loading import declared_vocabulary, load_tokenizer
from iterdpo.models.padding import chunks
from iterdpo.records import Adapter, Base, Policy
from iterdpo.runtime.progress import progress

_BATCH = 4
"""Texts at a time."""
_PROBES = 8
_STILL = 1e-6
"""Nats. Less than this is no movement in float32, and none is seen in a half type."""


class LocalModel:
    """Scores texts by the base, and by the base with the adapter. Loads when first asked to."""

    def __init__(
        self,
        base: Path | str,
        adapter: Path | str,
        dtype: Dtype,
        device: str,
        trust_remote_code: bool = False,
    ) -> None:
        """Find both, and load the tokenizer.

        Args:
            base: directory or hub id of a checkpoint.
            adapter: directory of an adapter in PEFT's layout.
            dtype: to compute in.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            trust_remote_code: run code that the checkpoint brings.

        Raises:
            UserError: one of them is not there, or cannot be used.
        """
        require_device("--device", device)
        self._adapter = require_adapter(Path(adapter).expanduser())
        checkpoint = find_checkpoint(str(base), None, "BASE")
        self.chat = Chat(load_tokenizer(str(checkpoint), trust_remote_code, "BASE"))
        self.vocabulary = declared_vocabulary(str(checkpoint))
        # Names alone: nothing here is kept, so that nothing has to be found by its content.
        held = Base(str(checkpoint), str(checkpoint), "none", dtype, str(checkpoint))
        self._policies = (
            Policy("BASE", held),
            Policy("ADAPTER", held, Adapter(str(self._adapter), str(self._adapter))),
        )
        self._said = f"ADAPTER={adapter}"
        self._engine = TransformersEngine(
            TransformersSettings(
                device=device,
                dtype=dtype,
                batch_size=_BATCH,
                trust_remote_code=trust_remote_code,
            )
        )

    def require_movement(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Raise ``UserError`` where the adapter does not fit the base, or changes none of it."""
        probes = [TokenSequence(ids[:1], ids[1:]) for ids in prompts[:_PROBES] if len(ids) > 1]
        base, adapted = self.score(probes, adapted=False), self.score(probes, adapted=True)
        pairs = [
            pair for rows in zip(base, adapted, strict=True) for pair in zip(*rows, strict=True)
        ]
        if all(abs(one - other) < _STILL for one, other in pairs):
            raise UserError(
                f"{self._said}: changes nothing of BASE (its lora_B is 0, or too small to "
                "be seen), so no server could be told from another"
            )

    def score(
        self, sequences: Sequence[TokenSequence], *, adapted: bool
    ) -> list[tuple[float, ...]]:
        """Return log p of each token of each text, in nats.

        Raises:
            UserError: base or adapter cannot be loaded, or there is no memory for them.
        """
        import torch

        label = "with the adapter" if adapted else "without it"
        try:
            return [
                values
                for batch in progress(
                    list(chunks(sequences, _BATCH)), -(-len(sequences) // _BATCH), label, "batches"
                )
                for values in self._score(batch, adapted=adapted)
            ]
        except torch.OutOfMemoryError:
            raise UserError(
                "not enough memory on the GPU for BASE in this type; give --dtype bfloat16, or "
                "--device cpu"
            ) from None

    def close(self) -> None:
        """Give the memory back."""
        self._engine.close()

    def _score(
        self, sequences: Sequence[TokenSequence], *, adapted: bool
    ) -> list[tuple[float, ...]]:
        import torch
        from safetensors import SafetensorError

        if not adapted:
            return self._engine.sequence_logprobs(sequences, self._policies[0])
        try:
            return self._engine.sequence_logprobs(sequences, self._policies[1])
        except torch.OutOfMemoryError:
            raise
        # PEFT says by any of these what it cannot put onto a model.
        except (
            LineageError, SafetensorError, OSError, ValueError, LookupError, TypeError,
            AttributeError, RuntimeError,
        ) as error:  # fmt: skip
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self._said}: does not fit BASE: {reason}") from error


def require_adapter(adapter: Path) -> Path:
    """Return the directory of an adapter.

    Raises:
        UserError: it is none in PEFT's layout, with its weights in safetensors.
    """
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (adapter / name).is_file():
            raise UserError(
                f"ADAPTER={adapter}: no {name} there; give the directory of an adapter in PEFT's "
                "layout"
            )
    try:
        values = json.loads((adapter / ADAPTER_CONFIG).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"ADAPTER={adapter}: its {ADAPTER_CONFIG} is no JSON object")
    return adapter.resolve()
