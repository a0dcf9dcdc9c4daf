"""Sources of prompts, with the settings that a test says nothing of as they ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iterdpo.prompts.dataset import DatasetPrompts
from iterdpo.prompts.file import FilePrompts
from iterdpo.prompts.mapping import PromptMapping


def file_prompts(path: Path, **settings: Any) -> FilePrompts:
    shipped: dict[str, Any] = {
        "field": "prompt", "reference": None, "rubric": None, "metadata": (), "held_out_share": 0.1,
    }  # fmt: skip
    return FilePrompts(path=str(path), **shipped | settings)


def prompt_mapping(**settings: Any) -> PromptMapping:
    shipped: dict[str, Any] = {
        "subset": None, "split": "train", "revision": None, "files": (), "form": "text",
        "join": (), "where": {}, "max_chars": None,
    }  # fmt: skip
    return PromptMapping(**shipped | settings)


def dataset_prompts(
    path: Path, field: str = "prompt", reference: str | None = None, share: float = 0.1,
    **mapping: Any,
) -> DatasetPrompts:  # fmt: skip
    return DatasetPrompts(
        path=str(path), field=field, reference=reference, rubric=None, metadata=(),
        held_out_share=share,
        dataset=prompt_mapping(**mapping),
    )  # fmt: skip
