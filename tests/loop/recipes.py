"""What the tests of recipes look at: what trainers were given, and what a run left in its store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from iterdpo.config.schema import Config
from iterdpo.evaluation.summary import Summary
from iterdpo.records import Candidate, FinishReason, Pair, Prompt
from iterdpo.store.tables import read_records
from tests.narrowing import present


@dataclass
class Seen:
    """What trainers were given in their first batches: how each text is cut in two."""

    texts: dict[str, list[tuple[list[int], list[int]]]] = field(
        default_factory=lambda: {"sft": [], "dpo": []}
    )
    """By kind of training: token ids without and with a place in the loss, a text each."""
    adapters: set[tuple[str, ...]] = field(default_factory=set)
    """Names of the adapters on the one base, in every DPO."""

    def note(self, kind: str, inputs: Any, learned: Any) -> None:
        columns = (inputs["input_ids"], inputs["attention_mask"], learned)
        for rows in zip(*(column.tolist() for column in columns), strict=True):
            real = [(token, one) for token, keep, one in zip(*rows, strict=True) if keep]
            cut = [one for _, one in real]
            assert cut == sorted(cut), "what is learned is not the end of the text"
            self.texts[kind].append(
                ([token for token, one in real if not one], [token for token, one in real if one])
            )


Record = TypeVar("Record")


def records(config: Config, stage: str, kind: type[Record]) -> list[Record]:
    return read_records(config.store.root / stage / "records.parquet", kind)


def manifest(config: Config, stage: str) -> Any:
    return json.loads((config.store.root / stage / "stage.json").read_text())


def report(config: Config, stage: str) -> Any:
    return json.loads((config.store.root / stage / "training.json").read_text())


def tokenizer_of(checkpoint: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


def require_trained(config: Config, result: Summary) -> None:
    """Each iteration learned from pairs: the policy's bytes moved, the reference's did not."""
    shas = [model.adapter_sha256 for model in result.models]
    assert len(set(shas)) == len(shas) == config.iterations + 1
    outcomes = [result.canaries[model.fingerprint].outcome for model in result.models]
    assert outcomes == ["applied"] * len(shas)
    for made in result.iterations:
        assert made.pairs.kept >= 1
        training = report(config, present(made.stages.adapter))
        assert training["pairs"] == made.pairs.kept
        assert training["reference_unchanged"]
        # The reference is the policy itself: ln 2 is the loss of a margin of 0.
        assert training["step0"]["loss"] == pytest.approx(0.693147, abs=1e-4)
        assert present(made.training).engine_gap < 1e-2


def require_masks(
    config: Config,
    result: Summary,
    texts: Any,
    checkpoint: Path,
    prompt: Callable[[str], str],
) -> None:
    """Each text is a prompt as ``prompt`` writes it, not learned, and all tokens of an answer that
    a policy ended itself, learned."""
    tokenizer = tokenizer_of(checkpoint)
    written = set()
    for made in result.iterations:
        asked = {item.id: item.text for item in records(config, made.stages.prompts, Prompt)}
        used = {
            name
            for pair in records(config, made.stages.pairs, Pair)
            for name in (pair.chosen_id, pair.rejected_id)
        }
        for item in records(config, made.stages.candidates, Candidate):
            if item.id in used:
                assert item.finish_reason is FinishReason.STOP
                assert item.token_ids[-1] == tokenizer.eos_token_id
                written.add((prompt(asked[item.prompt_id]), item.token_ids))
    assert texts
    for before, learned in texts:
        assert (tokenizer.decode(before), tuple(learned)) in written
        assert before.count(tokenizer.bos_token_id) == 1
