"""The YAML at a card's top, which the Hub indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def with_metadata(metadata: Mapping[str, Any], sections: Sequence[str]) -> str:
    """Return a card: metadata between its marks, without what is None, and the sections."""
    from huggingface_hub.repocard_data import CardData

    yaml = CardData(**metadata).to_yaml(original_order=list(metadata))
    return f"---\n{yaml.rstrip()}\n---\n\n" + "\n\n".join(sections) + "\n"
