"""Where prompts come from."""

from __future__ import annotations

from pathlib import Path

from iterdpo.config.schema import Config
from iterdpo.config.writing import PromptsConfig
from iterdpo.data.source import RowSource
from iterdpo.engines.base import Engine
from iterdpo.prompts.base import PromptSource
from iterdpo.prompts.dataset import DatasetPrompts
from iterdpo.prompts.file import FilePrompts
from iterdpo.prompts.lab import LabPrompts
from iterdpo.prompts.mapping import PromptMapping
from iterdpo.prompts.self_instruct import Rules
from iterdpo.prompts.text_pool import TextPool
from iterdpo.stages.generate import SelectPrompts
from iterdpo.stages.self_instruct import SelfInstruct


def make_prompts(config: Config) -> PromptSource:
    """Return the configured source of prompts; a file or dataset is read and checked at once.

    For ``self_instruct`` it is the source of the examples and of what is held out.
    """
    return LabPrompts() if config.prompts.source == "lab" else make_text_pool(config.prompts)


def make_select(
    config: Config, engine: Engine, prompts: PromptSource
) -> SelectPrompts | SelfInstruct:
    """Return the step that gets an iteration its prompts: chosen from given ones, or written."""
    count, seed, writing = config.prompts.per_iteration, config.seed, config.prompts.self_instruct
    if config.prompts.source != "self_instruct":
        return SelectPrompts(prompts, "loop", count, seed)
    assert writing is not None
    assert isinstance(prompts, TextPool)
    return SelfInstruct(
        examples=prompts,
        count=count,
        seed=seed,
        engine=engine,
        shots=writing.shots,
        written_shots=writing.written_shots,
        asked=writing.asked,
        temperature=writing.temperature,
        top_p=writing.top_p,
        max_tokens=writing.max_tokens,
        rules=Rules(
            min_words=writing.min_words,
            max_words=writing.max_words,
            keywords=writing.keywords,
            ascii_start=writing.ascii_start,
            max_similarity=writing.max_similarity,
        ),
        max_tries=writing.max_tries,
    )


def make_text_pool(prompts: PromptsConfig) -> FilePrompts | DatasetPrompts:
    """Return the prompts of the configured file or dataset."""
    assert prompts.path is not None
    dataset = prompts.dataset
    if dataset is None:
        path = Path(prompts.path).expanduser()
        return FilePrompts(path, prompts.field, prompts.held_out_share)
    source = RowSource(
        path=prompts.path,
        key="prompts.path",
        subset=dataset.subset,
        split=dataset.split,
        revision=dataset.revision,
        files=dataset.files,
    )
    mapping = PromptMapping(
        field=prompts.field,
        form=dataset.form,
        join=dataset.join,
        where=dataset.where,
        max_chars=dataset.max_chars,
    )
    return DatasetPrompts(source, mapping, prompts.held_out_share)
