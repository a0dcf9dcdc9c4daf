"""PairRM's network: a DeBERTa encoder that reads two answers at once, and a head on its markers.

Imported only when a PairRM is loaded, because it subclasses torch's modules. Parameters are named
as in the checkpoint (``llm-blender/PairRM-hf``, class ``DebertaV2PairRM``), so its file loads as it
is; nothing of the checkpoint's own code runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model

from iterdpo.errors import UserError
from iterdpo.models.loadable import loading

WEIGHTS_FILE = "model.safetensors"
MARKERS = ("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id")
"""What the configuration calls the tokens that open the three texts."""


class PairRM(nn.Module):
    """PairRanker of LLM-Blender (arXiv 2306.02561, section 3), as published for inference.

    With h the encoder's last hidden states at the three markers and [;] concatenation,
    s_1 = head([h_source; h_candidate1]), s_2 = head([h_source; h_candidate2]), and the logit is
    the mean over the head's tasks of s_1 - s_2.
    """

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        self.config: Any = config
        self.pretrained_model = DebertaV2Model(config)
        size, dropout = config.hidden_size, nn.Dropout(self.config.drop_out)
        self.head_layer = nn.Sequential(
            dropout,
            nn.Linear(2 * size, size),
            nn.Tanh(),
            dropout,
            nn.Linear(size, self.config.n_tasks),
        )

    @property
    def markers(self) -> tuple[int, int, int]:
        """The ids of the tokens that open the three texts, the prompt's first."""
        source, first, second = (getattr(self.config, name) for name in MARKERS)
        return source, first, second

    @property
    def padding(self) -> int:
        """An id to fill rows with: masked, but it must be a token, and none that opens a text."""
        known = range(int(self.config.vocab_size))
        pad = self.config.pad_token_id
        if pad in known and pad not in self.markers:
            return int(pad)
        return next(token for token in known if token not in self.markers)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape ``(B,)``: above 0 where the first answer is the better one.

        Args:
            input_ids: ``(B, T)``, each row with each marker exactly once.
            attention_mask: ``(B, T)``, 1 on text and 0 on padding.
        """
        hidden = self.pretrained_model(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        source, first, second = (hidden[input_ids == marker] for marker in self.markers)
        of_first = self.head_layer(torch.cat([source, first], dim=-1))
        of_second = self.head_layer(torch.cat([source, second], dim=-1))
        logits: torch.Tensor = (of_first - of_second).mean(dim=-1)
        return logits


def load_pairrm(checkpoint: Path, dtype: str, device: torch.device) -> PairRM:
    """Load a checkpoint for inference; every tensor of its file must have its place.

    Raises:
        UserError: it is no PairRM in the layout of ``llm-blender/PairRM-hf``.
    """
    place = f"judge.path={checkpoint}"
    hint = "give a checkpoint in the layout of llm-blender/PairRM-hf"
    with loading(place):
        config: Any = DebertaV2Config.from_pretrained(checkpoint)
    needed = ("n_tasks", "drop_out", *MARKERS)
    if missing := [name for name in needed if not hasattr(config, name)]:
        raise UserError(f"{place}: config.json has no {', '.join(missing)}; {hint}")
    if not (checkpoint / WEIGHTS_FILE).is_file():
        raise UserError(f"{place}: no {WEIGHTS_FILE}; {hint}")
    with loading(place):
        model = PairRM(config)
        weights = load_file(checkpoint / WEIGHTS_FILE)
    # Written by some versions of transformers; it holds 0, 1, 2, ... and is no parameter.
    weights.pop("pretrained_model.embeddings.position_ids", None)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{place}: {said}; {hint}") from None
    return model.to(device=device, dtype=getattr(torch, dtype)).eval()
