"""Preference training on given pairs, small, from end to end: every overlay, its template and mask.

The models are tiny and random, of the named architecture and with the vendor's template; the rows
are ours, in the schema of ``HuggingFaceH4/ultrafeedback_binarized``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iterdpo.cli import execute as run
from iterdpo.cli import plan
from iterdpo.config.schema import Config
from iterdpo.errors import ConfigError, UserError
from iterdpo.records import Candidate, Judgment, Pair, Prompt
from iterdpo.runs.directory import Run
from iterdpo.store.hashing import file_sha256
from iterdpo.store.inventory import read_store
from iterdpo.store.tables import read_records
from iterdpo.tools.report.write import write
from iterdpo.tools.store.lineage import lineages
from tests.checkpoints import CheckpointOf
from tests.documented import make_documented
from tests.loop.conftest import Configure
from tests.narrowing import present

if TYPE_CHECKING:
    import torch

TINY = (
    "model.dtype=float32", "model.context=4096", "engine.transformers.batch_size=64",
    "training.batch_size=4",
    "training.micro_batch_size=2", "training.learning_rate=0.01", "training.warmup=0",
    "training.process=inline", "candidates.max_tokens=40", "judge.score=expected",
    "judge.min_mass=0", "evaluation.prompts=2", "evaluation.samples=1",
    "evaluation.reference_prompts=2", "evaluation.reference_samples=2",
)  # fmt: skip
THINGS = ("tea", "rain", "glass", "bees", "salt", "moss", "ink", "wool", "clay", "bread")


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


def row(question: str, good: str, bad: str) -> dict[str, Any]:
    """A row of UltraFeedback-binarized: whole conversations, a prompt beside them, and scores."""
    return {
        "prompt": question,
        "prompt_id": f"id of {question}",
        "chosen": turns(question, good),
        "rejected": turns(question, bad),
        "messages": turns(question, good),
        "score_chosen": 8.5,
        "score_rejected": 4.0,
    }


TRAINED = [row(f"What is {it}?", f"It is {it}, well said.", f"No {it}.") for it in THINGS]
TESTED = [row(f"Who sells {it}?", f"A {it} shop.", "Nobody.") for it in THINGS]


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local copy of the repository, two of whose rows are no pairs and one no new prompt."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    place = tmp_path / "ultrafeedback_binarized" / "data"
    place.mkdir(parents=True)
    same = row("What is the same?", "This.", " This. ")
    wrong = row("What is wrong?", "This.", "That.") | {"score_chosen": 1.0}
    known = row("who sells  TEA?", "A shop.", "No.")  # held out, but for case and white space
    splits = {"train_prefs": [*TRAINED, same, wrong, known], "test_prefs": TESTED}
    for name, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(rows), place / f"{name}-00000-of-00001.parquet")
    return place.parent


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The micro batches of first steps, as the trainers were given them."""
    from iterdpo.training.dpo_trainer import ResumableDpoTrainer
    from iterdpo.training.orpo_trainer import ResumableOrpoTrainer

    seen: list[dict[str, torch.Tensor]] = []

    def watch(kind: Any) -> None:
        real = kind.check_first

        def noted(self: Any, inputs: Any, loss: Any, tokens: Any) -> Any:
            seen.append({name: tensor.clone() for name, tensor in inputs.items()})
            return real(self, inputs, loss, tokens)

        monkeypatch.setattr(kind, "check_first", noted)

    watch(ResumableDpoTrainer)
    watch(ResumableOrpoTrainer)
    return seen


Record = TypeVar("Record")


def records(config: Config, stage: str, kind: type[Record]) -> list[Record]:
    return read_records(config.store.root / stage / "records.parquet", kind)


# By overlay: the checkpoint, and what its vendor documents for a question and for an answer.
# full_dpo: qwen.readthedocs.io, "Key Concepts", chat template, with Qwen2.5's default system text.
# ipo: docs.mistral.ai, "Tokenization", v3.
# orpo: github.com/meta-llama/llama3, "Instruction-tuned Models".
RECIPES = {
    "full_dpo": (
        "qwen2_5_instruct",
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
        "{}<|im_end|>",
    ),
    "ipo": ("mistral_instruct", "<s>[INST] {}[/INST]", "{}</s>"),
    "orpo": (
        "llama3_instruct",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "{}<|eot_id|>",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_an_overlay_trains_on_given_pairs(
    name: str,
    configure: Configure,
    dataset: Path,
    batches: list[dict[str, torch.Tensor]],
    tmp_path: Path,
) -> None:
    from transformers import AutoTokenizer

    style, question, answer = RECIPES[name]
    checkpoint = make_documented(tmp_path / style, style)
    base = {file.name: file_sha256(file) for file in checkpoint.iterdir()}
    config = configure(
        f"experiment={name}", *TINY, f"model.path={checkpoint}", f"pairs.dataset.path={dataset}"
    )
    result = run.execute(config, tmp_path / "run")

    # Something was trained, it is what the engine applies, and nothing else has changed.
    m0, m1 = result.models
    (made,) = result.iterations
    assert m1.parent == "M0"
    assert m1.fingerprint != m0.fingerprint
    assert [result.canaries[m.fingerprint].outcome for m in (m0, m1)] == ["applied"] * 2
    assert {file.name: file_sha256(file) for file in checkpoint.iterdir()} == base
    training = present(made.training)
    assert training.pairs == made.pairs.kept == len(TRAINED)
    assert made.pairs.quality.margin_mean == 4.5
    assert training.step0_loss == pytest.approx(training.step0_expected_loss, rel=1e-4)
    assert training.engine_gap < 1e-3
    assert training.reference_unchanged is (None if name == "orpo" else True)
    assert (m1.adapter_sha256 is None) == (name == "full_dpo")
    if name != "orpo":
        # Where policy and reference agree: ln 2 for DPO, (0 - 1 / (2 * 0.01))^2 for IPO.
        first = {"full_dpo": 0.693147, "ipo": 2500.0}[name]
        assert training.step0_loss == pytest.approx(first, rel=1e-5)

    # Prompts and masks are to the letter what the vendor documents.
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    expected = {
        (question.format(r["prompt"]), answer.format(r[side][-1]["content"]))
        for r in TRAINED
        for side in ("chosen", "rejected")
    }
    seen = set()
    for batch in batches:
        for ids, attention, mask in zip(
            *(batch[key].tolist() for key in ("input_ids", "attention_mask", "completion_mask")),
            strict=True,
        ):
            cut, end = mask.index(1), sum(attention)
            assert mask == [0] * cut + [1] * (end - cut) + [0] * (len(ids) - end)
            seen.add((tokenizer.decode(ids[:cut]), tokenizer.decode(ids[cut:end])))
    assert len(seen) == 8  # both answers of four pairs
    assert seen <= expected

    # Held out are the other split's prompts; a row that begins like one of them is not trained on.
    held_out = [
        prompt.text
        for stage in (m0.stages.held_out, m0.stages.reference_prompts)
        for prompt in records(config, stage, Prompt)
    ]
    assert len(held_out) == 4
    assert set(held_out) <= {str(r["prompt"]) for r in TESTED}
    asked = {prompt.text for prompt in records(config, made.stages.prompts, Prompt)}
    assert asked == {str(r["prompt"]) for r in TRAINED}
    metrics = Run.open(tmp_path / "run").manifest(made.stages.prompts).metrics
    assert metrics["rows_left_out"] == {"identical": 1, "contradicted": 1}
    assert metrics["pairs_held_out"] == 1
    assert write([tmp_path / "run"]).is_file()


@pytest.fixture
def own(configure: Configure, checkpoint_of: CheckpointOf, tmp_path: Path) -> Configure:
    """A function from rows and overrides to a configuration for a file of one's own."""

    def get(rows: Any, *overrides: str, name: str = "pairs.jsonl") -> Config:
        file = tmp_path / name
        file.write_text("".join(json.dumps(item) + "\n" for item in rows))
        return configure(
            "pairs=dataset", f"pairs.dataset.path={file}", "model=local", "judge=additive",
            "training=dpo", "evaluation=judge", *TINY, f"model.path={checkpoint_of('qwen')}",
            "prompts.held_out_share=0.4", "iterations=1", *overrides,
        )  # fmt: skip

    return get


PLAIN = [
    {"prompt": f"Name {n} animals.", "chosen": f"A fox and {n} more.", "rejected": f"{n}?"}
    for n in range(30)
]


@pytest.mark.slow
def test_a_given_pair_is_walked_back_to_its_file_and_row(own: Configure, tmp_path: Path) -> None:
    config = own(PLAIN)
    result = run.execute(config, tmp_path / "run")
    (made,) = result.iterations
    pairs = records(config, made.stages.pairs, Pair)
    pair = pairs[0]
    number = next(n for n, item in enumerate(PLAIN) if item["prompt"] == pair.prompt)
    (found,) = lineages(read_store(config.store.root), pair.id)
    assert found.disagreements == ()
    assert found.prompt["source"] == f"pairs.jsonl, line {number + 1}"
    assert (found.writer, found.judged_by, found.policies) == ("given", "given", ())
    assert found.chosen.judgment["raw"] == [f"pairs.jsonl, line {number + 1}: chosen"]
    assert found.rejected.judgment["raw"] == [f"pairs.jsonl, line {number + 1}: rejected"]
    assert (found.pair["chosen_score"], found.pair["rejected_score"]) == (1.0, 0.0)
    for candidate in records(config, made.stages.candidates, Candidate):
        assert (candidate.policy, candidate.seed, candidate.logprobs) == ("given", 0, ())
    judged = records(config, made.stages.judgments, Judgment)
    assert {item.judge for item in judged} == {found.judge}


@pytest.mark.slow
def test_iterations_deal_out_the_prompts_and_start_where_the_last_one_ended(
    own: Configure, tmp_path: Path
) -> None:
    config = own(PLAIN, "iterations=2", "pairs.dataset.per_iteration=5")
    result = run.execute(config, tmp_path / "run")
    first, second = (
        {p.text for p in records(config, made.stages.prompts, Prompt)} for made in result.iterations
    )
    assert len(first) == len(second) == 5
    assert not first & second
    assert [model.parent for model in result.models] == [None, "M0", "M1"]
    gaps = [present(made.training).engine_gap for made in result.iterations]
    assert max(gaps) < 1e-3  # under M1, too


def keys(config: Config) -> dict[str, str]:
    return {step.stage: step.key for _, steps in plan.plan(config) for step in steps}


def test_keys_follow_what_is_read_and_not_where_it_lies(own: Configure, tmp_path: Path) -> None:
    usual = keys(own(PLAIN))
    assert keys(own(PLAIN)) == usual
    (tmp_path / "elsewhere").mkdir()
    assert keys(own(PLAIN, name="elsewhere/pairs.jsonl")) == usual
    other = [*PLAIN[:-1], PLAIN[-1] | {"rejected": "Another answer."}]
    renamed = [{"ask" if k == "prompt" else k: v for k, v in item.items()} for item in PLAIN]
    assert keys(own(renamed, "pairs.dataset.prompt=ask")) == usual
    for rows, overrides in (
        (other, ()),
        (PLAIN, ("pairs.dataset.max_rows=20",)),
        (PLAIN, ("pairs.dataset.per_iteration=3",)),
    ):
        assert keys(own(rows, *overrides))["prompts"] != usual["prompts"]
    assert keys(own(PLAIN, "prompts.system=Be brief."))["candidates"] != usual["candidates"]
    assert keys(own(PLAIN, "training.max_length=64"))["pairs"] != usual["pairs"]
    assert keys(own(PLAIN, "training=orpo"))["adapter"] != usual["adapter"]


BEST_WORST = "iterdpo.pairing.best_worst.BestWorst"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([f"pairs._target_={BEST_WORST}"], r"pairs\.dataset: no such setting of"),
        (["pairs.dataset=null"], r"pairs\.dataset=null: is a group of settings"),
        (["+pairs.k=2"], r"pairs\.k: no such setting of .*OfflineDataset, which has dataset"),
        (["pairs.dataset.evaluation_split=test"], r"evaluation_split=test: a file has no splits"),
        (["training=orpo", "training.reference=previous"], r"reference=previous: .*=orpo measures"),
        (["training=orpo", "training.loss=[ipo]"], r"training\.loss=\['ipo'\]: .* loss of its own"),
        (["training.reference=none"], r"training\.reference=none: training\.method=dpo needs one"),
    ],
)
def test_contradictions_are_told_at_the_door(
    own: Configure, overrides: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        own(PLAIN, *overrides)


def test_prompts_of_pairs_need_pairs(configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"prompts=pairs: there are none"):
        configure("prompts=pairs")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "Hi", "better": "a", "worse": "b"}], r"pairs\.dataset\.chosen=chosen: no row"),
        (
            [{"prompt": "Hi", "completion": "a", "label": True}],
            r"jsonl: .*\(unpaired preferences\)",
        ),
        ([{"prompt": "Hi", "chosen": "a", "rejected": "a"}], r"none of 1 rows .*\(1 identical\)"),
        ([{"prompt": "Hi", "chosen": "a", "rejected": 5}], r"line 1: rejected=5 is a number"),
    ],
)
def test_rows_that_are_no_pairs_are_told_before_anything_runs(
    own: Configure, rows: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        keys(own(rows))
