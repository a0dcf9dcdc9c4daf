"""The dataset card: whose preferences these are, and how to train on them."""

from __future__ import annotations

from collections.abc import Sequence

from iterdpo.config.choices import name_of
from iterdpo.config.hub import PAIRS_SUFFIX
from iterdpo.evaluation.table import table
from iterdpo.runs.directory import Run
from iterdpo.tools.hub import recipe
from iterdpo.tools.hub.card_metadata import with_metadata
from iterdpo.tools.hub.markdown import code, escaped, fenced
from iterdpo.tools.hub.pairs import DATA_DIR, PairsFile, judged_by_policy
from iterdpo.tools.hub.provenance import Origin

_COLUMNS = (
    ("prompt", "messages, up to the user's"),
    ("chosen", "one message: the answer that was judged better"),
    ("rejected", "one message: the answer that was judged worse"),
    ("chosen_score", "the judge's score of the chosen answer"),
    ("rejected_score", "the judge's score of the rejected answer"),
    ("iteration", "in which the pair was made, from 1"),
    ("policy", "the model that wrote both answers"),
    ("judge", "the model that judged both, or another kind of judge"),
    ("id", "of the pair; `python -m iterdpo.store lineage` walks it back"),
    ("prompt_id", "the same for the same text"),
    ("policy_fingerprint", "hash of the writer's weights"),
    ("judge_fingerprint", "hash of the judge's weights or settings"),
)


def dataset_card(run: Run, files: Sequence[PairsFile], origin: Origin, repo: str) -> str:
    """Return the README of a dataset repository.

    Args:
        run: the run that made the pairs.
        files: what is in the repository.
        origin: what the writers stand on.
        repo: the dataset's repository, for the lines that load it.
    """
    rows = sum(file.rows for file in files)
    configs = [{"config_name": "default", "data_files": f"{DATA_DIR}/*.parquet", "default": True}]
    configs += [
        {"config_name": f"iteration-{file.iteration}", "data_files": file.path} for file in files
    ]
    metadata = {
        "pretty_name": f"Preference pairs of {repo.rpartition('/')[2].removesuffix(PAIRS_SUFFIX)}",
        "task_categories": ["text-generation"],
        "size_categories": [_size(rows)],
        "tags": ["iterdpo", "dpo", "preference", "trl", "synthetic"]
        + (["self-rewarding"] if judged_by_policy(run) else []),
        "configs": configs,
    }
    held = [
        [str(file.iteration), f"{file.rows:,}", escaped(file.writer), escaped(file.judge)]
        for file in files
    ]
    sections = [
        f"# {escaped(repo.rpartition('/')[2])}",
        f"{rows:,} preference pairs that models on {escaped(origin.shown)} wrote in the course of "
        f"iterative {recipe.method(run)} with iterdpo. {recipe.papers(run)}. The answers are as a "
        "model wrote them: they may be wrong or offensive, and nobody has looked through them.",
        f"## Load\n\n{fenced(_loading(repo, files), 'python')}\n\nThe columns `prompt`, `chosen` "
        "and `rejected` are in TRL's conversational preference format; the tokenizer's chat "
        "template is applied by the trainer. (iterdpo itself trained on the token ids that the "
        "engine had written; where these spell a text in an unusual way, a tokenizer gives"
        " others.)",
        "## Columns\n\n" + table(["column", "what"], [[code(n), what] for n, what in _COLUMNS]),
        f"## Pairs\n\n{table(['iteration', 'pairs', 'written by', 'judged by'], held)}\n\n"
        f"{_judging(run)}",
        f"## Recipe\n\n{recipe.command(run)}",
        f"## Data\n\n{recipe.data(run)}",
        f"## Lineage\n\n{recipe.lineage(run, origin)}",
        f"## Limits\n\n{recipe.limits(run)}",
    ]
    return with_metadata(metadata, sections)


def _loading(repo: str, files: Sequence[PairsFile]) -> str:
    lines = [
        "from datasets import load_dataset",
        "",
        f"pairs = load_dataset({repo!r}, split='train')",
    ]
    if files:
        name = f"iteration-{files[-1].iteration}"
        lines.append(f"last = load_dataset({repo!r}, {name!r}, split='train')")
    training = "trainer = DPOTrainer(model, processing_class=tokenizer, train_dataset=pairs)"
    return "\n".join([*lines, "", "from trl import DPOTrainer", "", training])


def _judging(run: Run) -> str:
    judge, pairs = run.values["judge"], run.values["pairs"]
    scaled = {"low", "high"} <= set(judge)
    scale = f", scores from {judge['low']} to {judge['high']}" if scaled else ""
    return (
        f"Judge: {escaped(name_of(judge))}"
        + (f" with the rubric {code(str(judge['rubric']))}" if "rubric" in judge else "")
        + f"{scale}. Pairs: {escaped(name_of(pairs))}, margin at least "
        f"{pairs['min_margin']:g}."
    )


def _size(rows: int) -> str:
    """Return the Hub's name for a number of rows."""
    for limit, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"),
                        (10**6, "100K<n<1M")):  # fmt: skip
        if rows < limit:
            return name
    return "1M<n<10M"
