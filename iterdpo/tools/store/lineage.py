"""One preference pair, walked back: its prompt, both answers, both judgments, and the policies.

Knows the loop's stages by their names and by the records they keep. What the records
say of each other is compared on the way: a disagreement is reported, never smoothed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any

from iterdpo.errors import UserError
from iterdpo.records import (
    OFFLINE,
    Candidate,
    Judgment,
    Pair,
    Prompt,
    judge_fingerprint,
)
from iterdpo.settings import settings_of
from iterdpo.stages import names
from iterdpo.store.identity import Ref, parents
from iterdpo.store.inventory import Finished, Inventory
from iterdpo.store.tables import RECORDS_FILE
from iterdpo.tools.store.policies import PolicyNode, parent_of, policy_chain, stored

Row = Mapping[str, Any]
"""A record as its table holds it."""

_VERDICT = ("score", "unscored_reason", "unscored_raw")


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One of the pair's two answers and what the judge said of it."""

    candidate: Row
    judgment: Row


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a pair comes from."""

    pair: Row
    prompt: Row
    chosen: JudgedAnswer
    rejected: JudgedAnswer
    scale: tuple[float, float] | None
    """Lowest and highest score that the judge may give, where its settings say."""
    writer: str
    """Fingerprint of the policy that wrote both answers; ``given`` where they came with data."""
    judge: str
    """Fingerprint of who judged both: a policy, or another judge."""
    judged_by: str
    """That policy's name, or the kind of a judge that is none."""
    policies: tuple[PolicyNode, ...]
    """Writer, judge (where it is a policy) and all that they came from, each once, down to M0."""
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
        for stage in inventory.of_stage(names.PAIRS)
        if stage.manifest is not None
        for row in _pairs(stage, pair_id)
    ]
    ids = sorted({row["id"] for _, row in found})
    if not ids:
        count = len(inventory.of_stage(names.PAIRS))
        raise UserError(f"pair {pair_id}: none of the {count} pairs stages holds it")
    if len(ids) > 1:
        raise UserError(f"pair {pair_id}: is the beginning of several ids: {', '.join(ids[:8])}")
    sources: dict[tuple[Ref, ...], list[tuple[Finished, Row]]] = {}
    for stage, row in found:
        sources.setdefault(tuple(parents(stage.identity)), []).append((stage, row))
    return [_lineage(inventory, refs, holders) for refs, holders in sources.items()]


def _lineage(
    inventory: Inventory, refs: Sequence[Ref], holders: Sequence[tuple[Finished, Row]]
) -> Lineage:
    (first, pair), *_ = holders
    prompts, candidates, judgments = (
        stored(inventory, parent_of(first, name))
        for name in (names.PROMPTS, names.CANDIDATES, names.JUDGMENTS)
    )
    writers: list[PolicyNode] = []
    if _settings(candidates).get("writer") != OFFLINE:
        writers = policy_chain(inventory, parent_of(candidates, *names.POLICIES))
    written_by = (
        (writers[0].policy.name, writers[0].policy.fingerprint) if writers else (OFFLINE, OFFLINE)
    )
    judges: list[PolicyNode] = []
    judged_by, judge = _named_judge(judgments)
    if pair["judge"] != judge:  # then a policy is to have judged
        judges = policy_chain(inventory, parent_of(judgments, *names.POLICIES))
        judged_by, judge = judges[0].policy.name, judges[0].policy.fingerprint
    prompt = _one(prompts, Prompt, "id", pair["prompt_id"])
    chosen, rejected = (
        JudgedAnswer(
            _one(candidates, Candidate, "id", pair[f"{side}_id"]),
            _one(judgments, Judgment, "candidate_id", pair[f"{side}_id"]),
        )
        for side in ("chosen", "rejected")
    )
    return Lineage(
        pair=pair,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        scale=_scale(judgments),
        writer=written_by[1],
        judge=judge,
        judged_by=judged_by,
        policies=tuple({node.policy.fingerprint: node for node in chain(writers, judges)}.values()),
        stages={names.PAIRS: tuple(stage.ref.key for stage, _ in holders)}
        | {ref.stage: (ref.key,) for ref in refs},
        disagreements=tuple(
            _disagreements(
                pair,
                prompt,
                {"chosen": chosen, "rejected": rejected},
                {"policy": written_by, "judge": (judged_by, judge)},
            )
        ),
    )


def _disagreements(
    pair: Row,
    prompt: Row,
    answers: Mapping[str, JudgedAnswer],
    given: Mapping[str, tuple[str, str]],
) -> Iterator[str]:
    if pair["prompt"] != prompt["text"]:
        yield "the pair's prompt is not the text of the prompt it names"
    for verb, role in (("wrote", "policy"), ("judged", "judge")):
        name, fingerprint = given[role]
        if pair[role] != fingerprint:
            yield (
                f"the pair says that {pair[role]} {verb}, its stage was given {name}, {fingerprint}"
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


def _settings(stage: Finished) -> Row:
    settings = stage.identity["settings"]
    return settings if isinstance(settings, dict) else {}


def _named_judge(judgments: Finished) -> tuple[str, str]:
    """Return what a judge is called and how records name it, if it is no policy."""
    settings = _settings(judgments)
    judge = settings.get("judge")
    if not isinstance(judge, dict):  # the scores came with the answers
        return str(judge), judge_fingerprint(settings)
    name = judge.get("name") or str(judge.get("target")).rpartition(".")[2]
    return str(name), judge_fingerprint(judge)


def _scale(judgments: Finished) -> tuple[float, float] | None:
    scale = _settings(judgments).get("scale")
    return (scale[0], scale[1]) if isinstance(scale, list) else None


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
        columns = list(_columns(record, set(pyarrow.parquet.read_schema(path).names)))
        table = pyarrow.parquet.read_table(path, columns=columns, filters=wanted)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: {_line(error)}") from error
    rows: list[Row] = table.to_pylist()
    return rows


def _columns(record: type, there: Set[str]) -> Iterator[str]:
    """Yield a table's columns; a field at its neutral value in every record has none."""
    for item in settings_of(record):
        if item.name in there or not item.has_neutral:
            yield from _VERDICT if item.name == "verdict" else (item.name,)


def _line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:200]
