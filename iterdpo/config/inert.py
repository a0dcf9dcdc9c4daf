"""The settings that change no result, and so no key: changing one computes nothing again.

A test changes every setting of the configuration in turn: one that is listed here must leave every
key as it was, and every other must change one.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

ALWAYS: Final = MappingProxyType(
    {
        "plan": "looks, and runs nothing",
        "model.name": "what reports call it",
        "engine.residency": "where the engine waits while training",
        "engine.max_gap": "stops a run, changes none",
        "engine.threads": "speed; sums may round differently, as on another machine",
        "engine.max_sequences": "speed of vLLM, whose rows are independent",
        "engine.tensor_parallel": "place",
        "engine.memory_share": "memory",
        "engine.cache_gib": "memory",
        "engine.eager": "speed",
        "judge.min_scored": "stops a run, changes none",
        "pairs.on_empty": "stops a run, changes none",
        "training.process": "place",
        "training.checkpoint_steps": "what a kill costs",
        "training.step0_tolerance": "stops a run, changes none",
        "tracking.name": "where metrics go",
        "tracking.project": "where metrics go",
        "tracking.entity": "where metrics go",
        "tracking.mode": "where metrics go",
        "tracking.group": "where metrics go",
        "tracking.tags": "where metrics go",
        "store.root": "place",
    }
)
"""Key of a setting, and why it changes nothing."""

OTHERS_CHOICE: Final = MappingProxyType(
    {
        "model.path": "counts by what lies there: its files' hash",
        "model.revision": "likewise",
        "model.trust_remote_code": "whether code may run, not what it does",
        "prompts.path": "counts by the file's content; read with prompts=file",
        "prompts.field": "read with prompts=file",
        "prompts.held_out_share": "read with prompts=file",
        "judge.samples": "read with judge.score=sampled",
        "judge.temperature": "read with judge.score=sampled",
        "judge.top_p": "read with judge.score=sampled",
        "judge.max_tokens": "read with judge.score=sampled",
        "judge.min_readable": "read with judge.score=sampled",
        "training.reference": "enters as the reference's own key: nothing differs before M2",
        "judge.model": "enters as the judge's own key: nothing differs before M2",
    }
)
"""Settings that the shipped recipe does not read, or that count by something else."""
