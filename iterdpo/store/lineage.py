"""One preference pair, walked back: its prompt, both answers, both judgments, and the policies.

Knows the loop's steps by the names of their stages and by the records they keep. What the records
say of each other is compared on the way: a disagreement is reported, never smoothed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

from iterdpo.errors import UserError
from iterdpo.records import Candidate, Judgment, Pair, Prompt, record_id
from iterdpo.store.identity import Ref, parents
from iterdpo.store.inventory import RECORDS_FILE, Finished, Inventory

PAIRS, PROMPTS, CANDIDATES, JUDGMENTS = "pairs", "prompts", "candidates", "judgments"
BASE, ADAPTER = "base", "adapter"
ADAPTER_DIR = "adapter"
ADAPTER_WEIGHTS = f"{ADAPTER_DIR}/adapter_model.safetensors"

Row = Mapping[str, Any]
"""A record as its table holds it."""

_VERDICT = ("score", "unscored_reason", "unscored_raw")


@dataclass(frozen=True, slots=True)
class PolicyNode:
    """A policy and the stage it lies in."""

    name: str
    """``M0``, ``M1``, ..."""
    fingerprint: str
    stage: Ref
    parent: str | None
    """Fingerprint of the policy that its training started from; None for M0."""
    adapter: str | None
    """Directory of its adapter; None for M0."""
    adapter_sha256: str | None
    trained_on: Ref | None
    """The pairs it learned from; None for M0."""
    base: Row
    """Settings of the base under it: the checkpoint's sha256, quantization, dtype."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the pair's two answers and what the judge said of it."""

    candidate: Row
    judgment: Row


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a pair comes from."""

    pair: Row
    prompt: Row
    chosen: Answer
    rejected: Answer
    scale: tuple[float, float] | None
    """Lowest and highest score that the judge may give, where its settings say."""
    writer: str
    """Fingerprint of the policy that wrote both answers."""
    judge: str
    """Fingerprint of the policy that judged both."""
    policies: tuple[PolicyNode, ...]
    """Writer, judge and all that they came from, each once, down to M0."""
    stages: Mapping[str, tuple[str, ...]]
    """Keys by stage name. Several ``pairs`` stages may hold the pair, made of the same records."""
    disagreements: tuple[str, ...]
    """What the records and stages say differently of the same thing; empty when all is well."""


def lineages(inventory: Inventory, pair_id: str) -> list[Lineage]:
    """Walk a pair back through every stage that holds it.

    Args:
        inventory: the store.
        pair_id: the pair's id or a beginning of it.

    Returns:
        One lineage for each set of candidates and judgments that the pair was made of in the
        store; ``pairs`` stages that share them are named in one lineage.

    Raises:
        UserError: no pair has that id, several ids begin so, or a stage that the pair was made
            from is missing or of another version.
    """
    found = [
        (stage, row)
        for stage in inventory.of_stage(PAIRS)
        if stage.manifest is not None
        for row in _pairs(stage, pair_id)
    ]
    ids = sorted({row["id"] for _, row in found})
    if not ids:
        count = len(inventory.of_stage(PAIRS))
        raise UserError(f"pair {pair_id}: none of the {count} pairs stages holds it")
    if len(ids) > 1:
        raise UserError(f"pair {pair_id}: is the beginning of several ids: {', '.join(ids[:8])}")
    sources: dict[tuple[Ref, ...], list[tuple[Finished, Row]]] = {}
    for stage, row in found:
        sources.setdefault(tuple(parents(stage.identity)), []).append((stage, row))
    return [_lineage(inventory, refs, holders) for refs, holders in sources.items()]


def policy_chain(inventory: Inventory, ref: Ref) -> list[PolicyNode]:
    """Return the policy in the stage ``ref`` and those its training started from, down to M0.

    Raises:
        UserError: a stage of the chain is missing or of another version.
    """
    stages = [_stored(inventory, ref)]
    while stages[-1].ref.stage == ADAPTER:
        # The first policy that a training is given is the one that it starts from.
        start = _parent(stages[-1], BASE, ADAPTER)
        stages.append(_stored(inventory, start))
    base = stages[-1]
    settings = base.identity["settings"]
    if not isinstance(settings, dict):
        raise UserError(f"{base.directory}: is no base model's stage")
    made_of = [str(settings.get(name)) for name in ("checkpoint", "quantization", "dtype")]
    fingerprint = record_id("base", made_of, 0, "")
    chain_: list[PolicyNode] = []
    for stage in reversed(stages):
        chain_.append(_node(stage, fingerprint, settings, chain_[-1] if chain_ else None))
    return chain_[::-1]


def _node(stage: Finished, base: str, settings: Row, parent: PolicyNode | None) -> PolicyNode:
    if parent is None:
        name = record_id("policy", (base,), 0, "")
        return PolicyNode("M0", name, stage.ref, None, None, None, None, settings)
    sha256 = stage.readable().files.get(ADAPTER_WEIGHTS)
    if sha256 is None:
        raise UserError(f"{stage.directory}: names no {ADAPTER_WEIGHTS}")
    args = stage.identity["args"]
    iteration = args[0] if isinstance(args, list) and args else None
    return PolicyNode(
        name=f"M{iteration}",
        fingerprint=record_id("policy", (base,), 0, sha256),
        stage=stage.ref,
        parent=parent.fingerprint,
        adapter=str((stage.directory / ADAPTER_DIR).resolve()),
        adapter_sha256=sha256,
        trained_on=_parent(stage, PAIRS),
        base=settings,
    )


def _lineage(
    inventory: Inventory, refs: Sequence[Ref], holders: Sequence[tuple[Finished, Row]]
) -> Lineage:
    (first, pair), *_ = holders
    prompts, candidates, judgments = (
        _stored(inventory, _parent(first, name)) for name in (PROMPTS, CANDIDATES, JUDGMENTS)
    )
    writers = policy_chain(inventory, _parent(candidates, BASE, ADAPTER))
    judges = policy_chain(inventory, _parent(judgments, BASE, ADAPTER))
    prompt = _one(prompts, Prompt, "id", pair["prompt_id"])
    chosen, rejected = (
        Answer(
            _one(candidates, Candidate, "id", pair[f"{side}_id"]),
            _one(judgments, Judgment, "candidate_id", pair[f"{side}_id"]),
        )
        for side in ("chosen", "rejected")
    )
    settings = judgments.identity["settings"]
    return Lineage(
        pair=pair,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        scale=_scale(settings if isinstance(settings, dict) else {}),
        writer=writers[0].fingerprint,
        judge=judges[0].fingerprint,
        policies=tuple({node.fingerprint: node for node in chain(writers, judges)}.values()),
        stages={PAIRS: tuple(stage.ref.key for stage, _ in holders)}
        | {ref.stage: (ref.key,) for ref in refs},
        disagreements=tuple(
            _disagreements(
                pair, prompt, {"chosen": chosen, "rejected": rejected}, writers[0], judges[0]
            )
        ),
    )


def _disagreements(
    pair: Row, prompt: Row, answers: Mapping[str, Answer], writer: PolicyNode, judge: PolicyNode
) -> Iterator[str]:
    if pair["prompt"] != prompt["text"]:
        yield "the pair's prompt is not the text of the prompt it names"
    for who, said, node in (("wrote", "policy", writer), ("judged", "judge", judge)):
        if pair[said] != node.fingerprint:
            yield (
                f"the pair says that {pair[said]} {who}, its stage was given {node.name}, "
                f"{node.fingerprint}"
            )
    for side, answer in answers.items():
        candidate, judgment = answer.candidate, answer.judgment
        for what, one, other in (
            ("text", pair[side], candidate["text"]),
            ("score", pair[f"{side}_score"], judgment["score"]),
            ("prompt", pair["prompt_id"], candidate["prompt_id"]),
            ("writer", pair["policy"], candidate["policy"]),
            ("judge", pair["judge"], judgment["judge"]),
        ):
            if one != other:
                yield f"the pair's {side} {what} is not that of the record it names"


def _scale(settings: Row) -> tuple[float, float] | None:
    low, high = settings.get("low"), settings.get("high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return low, high
    return None


def _parent(stage: Finished, *names: str) -> Ref:
    """Return the first argument of ``stage`` that is a stage of one of these names."""
    ref = next((ref for ref in parents(stage.identity) if ref.stage in names), None)
    if ref is None:
        raise UserError(f"{stage.directory}: was given no {' or '.join(names)}: of another version")
    return ref


def _stored(inventory: Inventory, ref: Ref) -> Finished:
    if ref not in inventory.finished:
        raise UserError(f"{ref}: is not in the store any more, so the pair cannot be walked back")
    stage = inventory.finished[ref]
    stage.readable()
    return stage


def _pairs(stage: Finished, beginning: str) -> list[Row]:
    import pyarrow.compute as pc

    return _rows(stage, Pair, pc.starts_with(pc.field("id"), beginning))


def _one(stage: Finished, record: type, column: str, value: str) -> Row:
    import pyarrow.compute as pc

    rows = _rows(stage, record, pc.field(column) == value)
    if len(rows) != 1:
        raise UserError(f"{stage.directory}: {len(rows)} records have {column} {value}, expected 1")
    return rows[0]


def _rows(stage: Finished, record: type, wanted: Any) -> list[Row]:
    """Return the records that are wanted. Only these become Python objects."""
    import pyarrow
    import pyarrow.parquet

    path = stage.directory / RECORDS_FILE
    try:
        table = pyarrow.parquet.read_table(path, columns=list(_columns(record)), filters=wanted)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: {_line(error)}") from error
    rows: list[Row] = table.to_pylist()
    return rows


def _columns(record: type) -> Iterable[str]:
    for item in fields(record):
        yield from _VERDICT if item.name == "verdict" else (item.name,)


def _line(error: Exception) -> str:
    said = f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:200]
