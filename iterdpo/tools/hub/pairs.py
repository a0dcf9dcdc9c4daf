"""The preference pairs of a run as a dataset that TRL and ``datasets`` read as it stands.

TRL calls the format "preference, conversational, with an explicit prompt": each of ``prompt``,
``chosen`` and ``rejected`` is a list of messages, to which the trainer applies the tokenizer's own
chat template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from iterdpo.config.choices import name_of
from iterdpo.evaluation.summary import IterationSummary
from iterdpo.models.chat_messages import Request
from iterdpo.pairing.offline import OfflineDataset
from iterdpo.records import OFFLINE, Pair, Prompt
from iterdpo.runs.directory import Run

DATA_DIR = "data"

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class PairsFile:
    """The pairs of one iteration, and who wrote and judged them."""

    iteration: int
    path: str
    """Below the repository's top."""
    rows: int
    writer: str
    judge: str


def has_offline_pairs(run: Run) -> bool:
    """Tell whether somebody gave the pairs, so that nothing here wrote or judged them."""
    return name_of(run.values["pairs"]) == OfflineDataset.__name__


def judged_by_policy(run: Run) -> bool:
    """Tell whether the preferences are those of the run's own models."""
    known = {policy.fingerprint for policy in run.policies.values()}
    return not has_offline_pairs(run) and bool(judges_of(run)) and set(judges_of(run)) <= known


def judges_of(run: Run) -> dict[str, Pair]:
    """Return who judged, by fingerprint, each with one of the pairs that it judged."""
    stages = [made.stages.pairs for made in run.summary.iterations]
    return {pair.judge: pair for stage in stages for pair in run.records(stage, Pair)[:1]}


def write_pairs(run: Run, directory: Path) -> list[PairsFile]:
    """Write a Parquet file for each iteration that made pairs, and return what they hold.

    The same run gives the same bytes, so that a second upload finds them there.
    """
    names = {policy.fingerprint: name for name, policy in run.policies.items()}
    written = []
    for made in run.summary.iterations:
        iteration = made.iteration
        pairs = run.records(made.stages.pairs, Pair)
        if not pairs:
            continue
        path = f"{DATA_DIR}/iteration-{iteration}.parquet"
        (directory / DATA_DIR).mkdir(parents=True, exist_ok=True)
        _write(directory / path, list(_rows(run, pairs, made, names)))
        written.append(
            PairsFile(
                iteration, path, len(pairs), _name(pairs[0].policy, names), judge_of(run, pairs[0])
            )
        )
    return written


def judge_of(run: Run, pair: Pair) -> str:
    """Return who judged a pair: a model's name, or the class of a judge that is no model of the run
    with the fingerprint of its settings.
    """
    if has_offline_pairs(run):
        return OFFLINE
    for name, policy in run.policies.items():
        if policy.fingerprint == pair.judge:
            return name
    return f"{name_of(run.values['judge'])} {pair.judge}"


def _rows(
    run: Run, pairs: Sequence[Pair], made: IterationSummary, names: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    system = run.values["prompts"]["system"]
    prompts = run.records(made.stages.prompts, Prompt)
    asked = {prompt.id: Request.to(prompt, system) for prompt in prompts}
    for pair in pairs:
        yield {
            "prompt": [asdict(message) for message in asked[pair.prompt_id].messages],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
            "chosen_score": pair.chosen_score,
            "rejected_score": pair.rejected_score,
            "iteration": made.iteration,
            "policy": _name(pair.policy, names),
            "judge": judge_of(run, pair),
            "id": pair.id,
            "prompt_id": pair.prompt_id,
            "policy_fingerprint": pair.policy,
            "judge_fingerprint": pair.judge,
        }


def _name(fingerprint: str, names: Mapping[str, str]) -> str:
    return names.get(fingerprint, fingerprint)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    messages = pyarrow.list_(
        pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    )
    number, text = pyarrow.float64(), pyarrow.string()
    types = {"chosen_score": number, "rejected_score": number, "iteration": pyarrow.int64()}
    types |= dict.fromkeys(("prompt", "chosen", "rejected"), messages)
    schema = pyarrow.schema([(name, types.get(name, text)) for name in rows[0]])
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    pyarrow.parquet.write_table(table, path, compression="zstd")
