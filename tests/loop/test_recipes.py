"""The published recipes from end to end, small: their overlays, stages, templates and masks.

The models are tiny and random, of the named architecture and with the vendor's template; the rows
are ours, in the named data set's schema. What a random model cannot write is scripted: in
``self_rewarding`` the lists of new prompts and the verdicts in words. Everything else is real.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from iterdpo.cli import execute as run
from iterdpo.data.judging_examples import JudgingExample
from iterdpo.engines.base import Completion, PromptTooLong, Sampling
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.judging.rubrics import Rubric
from iterdpo.models.chat_messages import Request
from iterdpo.prompts.base import folded
from iterdpo.records import Candidate, FinishReason, Judgment, Pair, Policy, Prompt, Scored
from iterdpo.store.hashing import derive_seed
from iterdpo.tools.compare import compare
from tests.documented import make_documented
from tests.judging.rankers import make_pairrm
from tests.loop.conftest import Configure
from tests.loop.recipes import (
    Seen,
    manifest,
    records,
    report,
    require_masks,
    require_trained,
    tokenizer_of,
)
from tests.narrowing import present

TINY = (
    "model.dtype=float32", "model.context=4096", "engine.transformers.batch_size=64",
    "sft.process=inline",
    "training.process=inline", "training.learning_rate=0.01", "training.warmup=0",
    "candidates.max_tokens=80", "evaluation.prompts=2", "evaluation.samples=1",
    "evaluation.reference_prompts=2", "evaluation.reference_samples=2",
)  # fmt: skip
TOPICS = (
    "tea", "rain", "glass", "bees", "salt", "moss", "ink", "wool", "clay", "bread", "maps", "wind",
    "silk", "rust", "corn", "snow", "soap", "milk", "sand", "lead", "jazz", "kites", "yeast",
    "owls",
)  # fmt: skip
QUESTIONS = tuple(
    f"{verb} {topic} {rest}"
    for topic in TOPICS
    for verb, rest in (("Explain how", "is made."), ("Tell me why", "matters at all."))
)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    from iterdpo.training.dpo_trainer import ResumableDpoTrainer
    from iterdpo.training.sft_trainer import ResumableSftTrainer

    noted = Seen()
    learn, prefer = ResumableSftTrainer.check_first, ResumableDpoTrainer.check_first

    def examples(self: Any, inputs: Any, loss: Any, tokens: Any) -> Any:
        noted.note("sft", inputs, inputs["labels"] != -100)
        return learn(self, inputs, loss, tokens)

    def pairs(self: Any, inputs: Any, loss: Any, tokens: Any) -> Any:
        noted.note("dpo", inputs, inputs["completion_mask"] == 1)
        noted.adapters.add(tuple(self.model.peft_config))
        return prefer(self, inputs, loss, tokens)

    monkeypatch.setattr(ResumableSftTrainer, "check_first", examples)
    monkeypatch.setattr(ResumableDpoTrainer, "check_first", pairs)
    return noted


# ------------------------------------------------------------------------------ self_rewarding


def oasst_rows() -> list[dict[str, Any]]:
    """Conversation trees as in OpenAssistant/oasst1: one row a message, in no order."""

    def row(name: str, text: str, **values: Any) -> dict[str, Any]:
        usual = {"parent_id": None, "role": "prompter", "lang": "en", "rank": None,
                 "deleted": False, "message_tree_id": name.split("-")[0]}  # fmt: skip
        return {"message_id": name, "text": text} | usual | values

    rows = []
    for number, question in enumerate(QUESTIONS):
        rows.append(row(f"{number}", question))
        for rank, worth in ((1, "fair"), (0, "good"), (2, "poor")):
            text = f"a {worth} answer {number}"
            rows.append(row(f"{number}-{rank}", text, parent_id=f"{number}", role="assistant",
                            rank=rank))  # fmt: skip
    rows.append(row("de", "Was ist Tee und woher kommt er?", lang="de"))
    random.Random(0).shuffle(rows)
    return rows


def said_by_script(request: Request, policy: Policy, sample: int) -> str | None:
    """What no random model writes: lists of new prompts, and verdicts in words."""
    text = request.messages[-1].content
    if "Continue the list" in text:
        rng = random.Random(derive_seed(0, text))
        new = [" ".join(rng.sample(made_up_words(), 6)) for _ in range(8)]
        return "\n".join(f"{number}. {item}" for number, item in enumerate(new, start=9))
    if "<response>" not in text:
        return None
    answer = text.split("<response>\n")[1].split("\n</response>")[0]
    ranked = {"good": 5, "fair": 3, "poor": 1}.get([*answer.split(), "", ""][1])
    # Of our own answers, every third verdict is one point off, so that only a mean tells.
    score = ranked if ranked is not None else len(answer) % 5 + (sample == 2)
    return f"It is about what was asked.\nScore: {score}"


def made_up_words() -> list[str]:
    return [f"{head}{tail}" for head in TOPICS for tail in ("like", "wise", "shop", "ware", "man")]


class Helped(TransformersEngine):
    """The real engine, but for what ``said_by_script`` says in the model's place."""

    asked: list[tuple[str, Request]]

    def generate(
        self, requests: Sequence[Request], policy: Policy, sampling: Sampling
    ) -> Iterator[Completion | PromptTooLong]:
        if not requests or said_by_script(requests[0], policy, 0) is None:
            yield from super().generate(requests, policy, sampling)
            return
        for index, request in enumerate(requests):
            self.asked.append((policy.name, request))
            for nth in range(sampling.n):
                text = said_by_script(request, policy, nth)
                assert text is not None
                yield Completion(index, nth, text, (0,), (1,), (-1.0,), FinishReason.STOP, 0)


@pytest.mark.slow
def test_self_rewarding_begins_with_a_base_and_its_own_judgments(
    configure: Configure, tmp_path: Path, seen: Seen
) -> None:
    checkpoint = make_documented(tmp_path / "llama3", "llama3")
    rows = tmp_path / "oasst.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in oasst_rows()))
    config = configure(
        "experiment=self_rewarding", *TINY, f"model.path={checkpoint}", f"prompts.path={rows}",
        "prompts.held_out_share=0.3", "prompts.per_iteration=6", f"sft.ranked.path={rows}",
        "sft.ranked.instructions=28", "sft.batch_size=8", "sft.epochs=1", "sft.warmup=0",
        "sft.learning_rate=0.01", "training.batch_size=4",
    )  # fmt: skip
    engine = Helped(TransformersSettings(device="cpu", batch_size=64))
    engine.asked = []
    result = run.execute(config, tmp_path / "run", engine)
    require_trained(config, result)

    # M0 is the base, taught instructions and what a model taught these alone judged rightly.
    stage = result.models[0].stages.policy
    entry = manifest(config, stage)
    assert [arg["stage"] for arg in entry["identity"]["args"]] == ["base", "judging_examples"]
    examples_stage = f"judging_examples/{entry['identity']['args'][1]['key']}"
    (baseline,) = manifest(config, examples_stage)["identity"]["args"]
    first = manifest(config, f"sft/{baseline['key']}")
    assert [arg["stage"] for arg in first["identity"]["args"]] == ["base"]
    examples = records(config, examples_stage, JudgingExample)
    assert first["metrics"]["examples"] == 28
    assert entry["metrics"]["examples"] == 28 + len(examples)
    assert report(config, stage)["adapter_sha256"] == result.models[0].adapter_sha256
    assert report(config, stage) != report(config, f"sft/{baseline['key']}")
    assert {example.score for example in examples} == {1.0, 3.0, 5.0}
    assert {name for name, request in engine.asked if "good answer" in str(request)} == {"IFT"}

    # What is measured was learned from by nobody.
    stages = result.models[0].stages
    measured = {
        folded(prompt.text)
        for address in (stages.held_out, stages.reference_prompts)
        for prompt in records(config, address, Prompt)
    }
    tokenizer = tokenizer_of(checkpoint)
    taught = [(tokenizer.decode(a), tokenizer.decode(b)) for a, b in seen.texts["sft"]]
    assert not {folded(before.removeprefix("<|begin_of_text|>")) for before, _ in taught} & measured
    assert not {folded(example.prompt) for example in examples} & measured

    # A base has no template ("The base models have no prompt format", huggingface.co/blog/llama3):
    # the question, a line feed, the answer, and the token that ends a text of the base.
    plain = {
        f"<|begin_of_text|>{question}\n": f"a good answer {number}<|end_of_text|>"
        for number, question in enumerate(QUESTIONS)
    }
    rubric = Rubric.load("additive")
    judging = {
        "<|begin_of_text|>"
        + rubric.render(item.prompt, item.response, reasons=True, low=0, high=5)
        + "\n": f"It is about what was asked.\nScore: {item.score:.0f}<|end_of_text|>"
        for item in examples
    }
    assert all((plain | judging)[before] == answer for before, answer in taught)
    assert sum(before in judging for before, _ in taught) >= 1
    asked = {f"<|begin_of_text|>{request.messages[-1].content}\n" for _, request in engine.asked}
    assert set(judging) <= asked

    # M0 wrote the prompts; three verdicts on each answer are averaged.
    for made in result.iterations:
        prompts = records(config, made.stages.prompts, Prompt)
        assert all(item.source.startswith("self-instruct") for item in prompts)
        writer = manifest(config, made.stages.prompts)["identity"]["args"][1]
        assert f"{writer['stage']}/{writer['key']}" == stage
        answers = {c.id: c.text for c in records(config, made.stages.candidates, Candidate)}
        assert len(answers) == 6 * 4
        for item in records(config, made.stages.judgments, Judgment):
            assert isinstance(item.verdict, Scored)
            assert item.score == pytest.approx(len(answers[item.candidate_id]) % 5 + 1 / 3)
    require_masks(config, result, seen.texts["dpo"], checkpoint,
                  lambda text: f"<|begin_of_text|>{text}\n")  # fmt: skip
    assert seen.adapters == {("default", "ref")}


# ------------------------------------------------------------------------------------- sft_dpo


@pytest.mark.slow
def test_sft_dpo_holds_two_adapters_on_one_quantized_base(
    configure: Configure, tmp_path: Path, seen: Seen
) -> None:
    checkpoint = make_documented(tmp_path / "llama3_instruct", "llama3_instruct")
    examples, prompts = tmp_path / "examples.jsonl", tmp_path / "prompts.jsonl"
    rows = [
        {"instruction": f"Repeat the word {topic}.", "input": "", "output": f"{topic} again"}
        for topic in TOPICS
    ]
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in QUESTIONS))
    config = configure(
        "experiment=sft_dpo", *TINY, f"model.path={checkpoint}", f"sft.path=[{examples}]",
        f"prompts.path={prompts}", "prompts.held_out_share=0.3", "prompts.per_iteration=6",
        "sft.batch_size=8", "sft.epochs=2", "sft.warmup=0", "sft.learning_rate=0.01",
        "training.batch_size=4", "judge.score=expected", "judge.min_mass=0", "iterations=2",
    )  # fmt: skip
    result = run.execute(config, tmp_path / "run")
    m0, m1, m2 = result.models
    stage = m0.stages.policy
    assert stage.startswith("sft/")
    assert report(config, stage)["adapter_sha256"] == m0.adapter_sha256
    (base,) = manifest(config, stage)["identity"]["args"]
    assert base["stage"] == "base"
    base_settings = manifest(config, f"base/{base['key']}")["identity"]["settings"]
    assert base_settings["quantization"].startswith("nf4")

    # Start and reference of the first training are the tuned adapter; the reference stays it.
    first, second = result.iterations
    assert len({m0.adapter_sha256, m1.adapter_sha256, m2.adapter_sha256}) == 3
    adapters = [present(made.stages.adapter) for made in (first, second)]
    reports = [report(config, adapter) for adapter in adapters]
    assert reports[0]["reference_sha256"] == reports[1]["reference_sha256"]
    assert all(item["reference_unchanged"] and item["pairs"] >= 1 for item in reports)
    assert reports[0]["step0"]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert reports[1]["step0"]["loss"] != pytest.approx(0.693147, abs=1e-4)
    tuned = stage.split("/")[1]
    for adapter, start in zip(adapters, (tuned, adapters[0].split("/")[1]), strict=True):
        args = manifest(config, adapter)["identity"]["args"]
        assert [arg["key"] for arg in args[1:3]] == [start, tuned]
    assert seen.adapters == {("default", "ref")}

    # github.com/meta-llama/llama3, "Instruction-tuned Models": headers, two line feeds, <|eot_id|>.
    def prompt(text: str) -> str:
        return (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
            f"{text}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        )

    tokenizer = tokenizer_of(checkpoint)
    taught = {prompt(row["instruction"]): f"{row['output']}<|eot_id|>" for row in rows}
    assert len(seen.texts["sft"]) == 8
    for before, learned in seen.texts["sft"]:
        assert taught[tokenizer.decode(before)] == tokenizer.decode(learned)
        assert before.count(tokenizer.bos_token_id) == 1
    require_masks(config, result, seen.texts["dpo"], checkpoint, prompt)


# --------------------------------------------------------------------------------- lima_pairrm


@pytest.mark.slow
def test_lima_pairrm_ranks_answers_and_compares_on_unseen_instructions(
    configure: Configure, tmp_path: Path, seen: Seen
) -> None:
    checkpoint = make_documented(tmp_path / "mistral", "mistral_instruct")
    ranker = make_pairrm(tmp_path / "pairrm")
    lima = tmp_path / "lima"
    lima.mkdir()
    rows = [{"conversations": [text, "Well."], "source": "stackexchange"} for text in QUESTIONS]
    (lima / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = configure(
        "experiment=lima_pairrm", *TINY, f"model.path={checkpoint}", f"prompts.path={lima}",
        "prompts.held_out_share=0.4", "prompts.per_iteration=4", f"judge.path={ranker}",
        "training.epochs=1", "training.batch_size=2",
    )  # fmt: skip
    assert (config.iterations, config.candidates.n) == (3, 5)
    result = run.execute(config, tmp_path / "run")
    require_trained(config, result)
    assert result.models[0].stages.policy.startswith("base/")
    for made in result.iterations:
        judgments = records(config, made.stages.judgments, Judgment)
        assert len(judgments) == made.judgments.scored == 4 * 5
        by_id = {item.candidate_id: item for item in judgments}
        for pair in records(config, made.stages.pairs, Pair):
            good, bad = by_id[pair.chosen_id].score, by_id[pair.rejected_id].score
            assert good is not None
            assert bad is not None
            assert good > bad

    # docs.mistral.ai/cookbook/concept-deep-dive-tokenization-chat_templates, "Tokenizer V3",
    # that of 7B Instruct v0.3: a space after [INST], none before [/INST].
    require_masks(config, result, seen.texts["dpo"], checkpoint,
                  lambda text: f"<s>[INST] {text}[/INST]")  # fmt: skip

    frame = compare(tmp_path / "run", n=10)
    best = result.best.model
    last = best if best != "M0" else "M3"
    assert list(frame.columns) == ["instruction", "seen", "M0", last]
    assert list(frame["seen"]) == ["never"] * 10
    assert set(frame["instruction"]) < set(QUESTIONS)
    assert (frame["M0"] != frame[last]).any()
