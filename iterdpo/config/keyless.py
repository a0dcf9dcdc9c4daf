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
        "report": "writes a page",
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
        "sft.process": "place",
        "training.processes": "place; sums are added in another order, as on another machine",
        "sft.processes": "likewise",
        "sft.checkpoint_steps": "what a kill costs",
        "sft.step0_tolerance": "stops a run, changes none",
        "training.checkpoint_steps": "what a kill costs",
        "training.step0_tolerance": "stops a run, changes none",
        "tracking.name": "where metrics go",
        "tracking.project": "where metrics go",
        "tracking.entity": "where metrics go",
        "tracking.mode": "where metrics go",
        "tracking.group": "where metrics go",
        "tracking.tags": "where metrics go",
        "tracking.samples": "what trackers are shown",
        "tracking.artifacts": "what trackers are given",
        "hub.push": "what is uploaded, and where to",
        "hub.repo": "likewise",
        "hub.private": "likewise",
        "hub.models": "likewise",
        "hub.pairs": "likewise",
        "hub.endpoint": "likewise",
        "store.root": "place",
    }
)
"""Key of a setting, and why it changes nothing."""

OTHERS_CHOICE: Final = MappingProxyType(
    {
        "model.path": "counts by what lies there: its files' hash",
        "model.revision": "likewise",
        "model.trust_remote_code": "whether code may run, not what it does",
        "prompts.path": "counts by what lies there; the lab reads none",
        "prompts.field": "read with every source but the lab",
        "prompts.held_out_share": "read with every source but the lab",
        "judge.samples": "read with judge.score=sampled",
        "judge.temperature": "read with judge.score=sampled",
        "judge.top_p": "read with judge.score=sampled",
        "judge.max_tokens": "read with judge.score=sampled",
        "judge.min_readable": "read with judge.score=sampled",
        "evaluation.arbiter_model": "read with evaluation.arbiter=external",
        "evaluation.arbiter_rubric": "read with evaluation.arbiter=initial and external",
        "evaluation.arbiter_min_mass": "read with evaluation.arbiter=initial and external",
        "health.on_alarm": "decides what follows an alarm: nothing differs before one",
        "sft.path": "counts by the files' content; read with sft=qlora, merged and full",
        "sft.learning_rate": "read with sft=qlora, merged and full",
        "sft.schedule": "read with sft=qlora, merged and full",
        "sft.warmup": "read with sft=qlora, merged and full",
        "sft.epochs": "read with sft=qlora, merged and full",
        "sft.batch_size": "read with sft=qlora, merged and full",
        "sft.micro_batch_size": "read with sft=qlora, merged and full",
        "sft.max_grad_norm": "read with sft=qlora, merged and full",
        "sft.weight_decay": "read with sft=qlora, merged and full",
        "sft.optimizer": "read with sft=qlora, merged and full",
        "sft.gradient_checkpointing": "read with sft=qlora, merged and full",
        "sft.max_length": "read with sft=qlora, merged and full",
        "training.reference": "enters as the reference's own key: nothing differs before M2",
        "judge.model": "enters as the judge's own key: nothing differs before M2",
    }
)
"""Settings that the shipped recipe does not read, or that count by something else."""

OF_OTHER_JUDGES: Final = MappingProxyType(
    {
        "judge.pairrm.path": "counts by what lies there: its files' hash",
        "judge.pairrm.revision": "likewise",
        "judge.reward_model.path": "counts by what lies there: its files' hash",
        "judge.reward_model.revision": "likewise",
        "judge.labels": "counts by the file's content",
        "judge.endpoint.api_key_env": "a secret's name",
        "judge.endpoint.limit_name": "what the server calls a setting",
        "judge.endpoint.concurrency": "speed",
        "judge.endpoint.requests_per_minute": "speed",
        "judge.endpoint.timeout_seconds": "when to try again",
        "judge.endpoint.retries": "stops a run, changes none",
        "judge.endpoint.price_in": "what the same answers cost",
        "judge.endpoint.price_out": "likewise",
        "judge.endpoint.budget": "stops a run, changes none",
    }
)
"""The same for the settings of judges that are not in the shipped recipe."""
