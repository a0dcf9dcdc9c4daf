"""Supervised fine-tuning for real, on a tiny random model, and DPO that begins where it ended."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trl import SFTTrainer

from iterdpo.engines.base import TokenSequence
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.errors import LineageError, UserError
from iterdpo.models.canary import Canary
from iterdpo.models.checkpoint import load_base
from iterdpo.models.loading import load_tokenizer
from iterdpo.records import Adapter, Policy
from iterdpo.runtime.signals import Stopped, StopRequest
from iterdpo.store.hashing import file_sha256
from iterdpo.store.tables import read_records
from iterdpo.training import __main__, adapters
from iterdpo.training.checks import batch_logprobs
from iterdpo.training.learners import load_learner
from iterdpo.training.memory import split_rows
from iterdpo.training.sft_trainer import ResumableSftTrainer
from iterdpo.training.spec import PairExample, SftExample, SftSpec, read_spec
from iterdpo.training.train import make_trainer, train, trainer_class
from tests.logprobs import sums
from tests.narrowing import present
from tests.training.conftest import Files, MakeLessons, MakeSpec

WEIGHTS = "adapter/adapter_model.safetensors"
FOUR_STEPS = {"epochs": 2, "batch_size": 8, "micro_batch_size": 4}


def policy_of(spec: SftSpec, out: Path) -> Policy:
    sha256 = file_sha256(out / WEIGHTS)
    return Policy("M0", spec.base, Adapter(str(out / "adapter"), sha256), parent="base")


@pytest.fixture
def tuned(make_sft_spec: MakeLessons, tmp_path: Path) -> Policy:
    """An M0 far from its base."""
    spec = make_sft_spec("nf4", epochs=3, learning_rate=3e-2)
    train(spec, tmp_path / "sft")
    return policy_of(spec, tmp_path / "sft")


def test_only_the_answers_tokens_are_labels_and_the_last_ends_the_answer(
    make_sft_spec: MakeLessons,
) -> None:
    assert ResumableSftTrainer.dataset([SftExample((7, 8), (5, 6, 2))])[0] == {
        "input_ids": [7, 8, 5, 6, 2],
        "labels": [-100, -100, 5, 6, 2],
    }
    spec = make_sft_spec(examples=3)
    examples = read_records(Path(spec.examples), SftExample)
    trainer = make_trainer(load_learner(spec), load_tokenizer(spec.base.path), examples, spec, None)
    rows = sorted(
        zip(*(t.tolist() for t in next(iter(trainer.get_train_dataloader())).values()), strict=True)
    )
    # input_ids, labels, attention_mask of (5, 9, 20 + n) and 1, 4 and 2 tokens before the end.
    assert [row[0][:3] for row in rows] == [[5, 9, 20], [5, 9, 21], [5, 9, 22]]
    assert [row[1] for row in rows] == [
        [-100, -100, -100, 30, 2, -100, -100, -100],
        [-100, -100, -100, 31, 32, 33, 34, 2],
        [-100, -100, -100, 32, 33, 2, -100, -100],
    ]
    assert [sum(row[2]) for row in rows] == [5, 8, 6]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_answers_are_learned_and_nothing_else(
    make_sft_spec: MakeLessons, engine: TransformersEngine, tmp_path: Path, quantization: str
) -> None:
    spec = make_sft_spec(quantization, epochs=20, batch_size=11, micro_batch_size=11)
    report = train(spec, tmp_path)
    examples = read_records(Path(spec.examples), SftExample)
    assert report["examples"] == 11
    assert report["tokens"] == sum(len(example.answer_ids) for example in examples)
    texts = [TokenSequence(item.prompt_ids, item.answer_ids) for item in examples]
    before = sums(engine.sequence_logprobs(texts, Policy("M0", spec.base)))
    losses = [entry["loss"] for entry in report["history"]]
    # The mean over all of the answers' tokens, by the engine, which knows nothing of TRL.
    assert losses[0] == pytest.approx(-sum(before) / report["tokens"], rel=1e-5)
    assert report["step0"]["expected_loss"] == pytest.approx(losses[0], rel=1e-5)
    # The output layer is frozen and random: logits reach 1.3 at most, so 0.7 of it is much.
    assert losses[-1] < losses[0] - 0.7
    bare, policy = Policy("M0", spec.base), policy_of(spec, tmp_path)
    after = sums(engine.sequence_logprobs(texts, policy))
    assert sum(after) > sum(before) + 0.7 * report["tokens"]
    # The end of an answer is learned too.
    ends = [TokenSequence((*i.prompt_ids, *i.answer_ids[:-1]), i.answer_ids[-1:]) for i in examples]
    then, now = (sums(engine.sequence_logprobs(ends, one)) for one in (bare, policy))
    assert min(new - old for new, old in zip(now, then, strict=True)) > 0.4
    canary = Canary.read(tmp_path / "canary.json")
    assert canary.noise < 1e-4
    watched = [TokenSequence(text.prompt_ids, text.token_ids) for text in canary.texts]
    measured = engine.sequence_logprobs(watched, policy)
    assert sums(measured) == pytest.approx(sums(text.after for text in canary.texts), abs=1e-4)


def test_a_trainer_that_learns_the_prompt_too_is_stopped(
    make_sft_spec: MakeLessons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = SFTTrainer.compute_loss

    def compute_loss(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        whole = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        return real(self, model, inputs | {"labels": whole}, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, "compute_loss", compute_loss)
    with pytest.raises(LineageError, match="other tokens are learned"):
        train(make_sft_spec(), tmp_path)


@pytest.mark.parametrize("step", [1, 3])
def test_it_goes_on_from_a_checkpoint_with_the_same_bytes(
    make_sft_spec: MakeLessons, files: Files, tmp_path: Path, step: int
) -> None:
    # With dropout, so that random numbers have to go on as well.
    lora = dataclasses.replace(present(make_sft_spec().lora), dropout=0.1)
    spec = make_sft_spec(
        **FOUR_STEPS, lora=lora, checkpoints=str(tmp_path / "kept"), checkpoint_steps=1
    )
    train(dataclasses.replace(spec, checkpoints=None), tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        assert total == 4
        if done == step:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(spec, tmp_path / "first", stop)
    steps: list[int] = []
    train(spec, tmp_path / "again", lambda done, total: steps.append(done))
    assert steps == list(range(step, 5))
    assert files(tmp_path / "again") == files(tmp_path / "whole")


def test_dropout_is_off_where_log_probs_are_measured(
    make_sft_spec: MakeLessons, engine: TransformersEngine, tmp_path: Path
) -> None:
    lora = dataclasses.replace(present(make_sft_spec().lora), dropout=0.5)
    spec = make_sft_spec(lora=lora, epochs=4)
    train(spec, tmp_path)
    texts = Canary.read(tmp_path / "canary.json").texts
    asked = [TokenSequence(text.prompt_ids, text.token_ids) for text in texts]
    measured = engine.sequence_logprobs(asked, policy_of(spec, tmp_path))
    assert sums(measured) == pytest.approx(sums(text.after for text in texts), abs=1e-4)


@pytest.mark.parametrize("weights", ["adapter", "all weights"])
@pytest.mark.parametrize("learn", ["examples", "pairs"])
def test_a_base_that_brings_dropout_passes_its_checks(
    make_sft_spec: MakeLessons, make_spec: MakeSpec, tmp_path: Path, learn: str, weights: str
) -> None:
    spec = make_sft_spec() if learn == "examples" else make_spec()
    place = tmp_path / "base"
    shutil.copytree(spec.base.path, place)
    config = json.loads((place / "config.json").read_text("utf-8")) | {"attention_dropout": 0.2}
    (place / "config.json").write_text(json.dumps(config), "utf-8")
    base = dataclasses.replace(spec.base, path=str(place))
    spec = dataclasses.replace(
        spec, base=base, lora=spec.lora if weights == "adapter" else None, policy_adapter=None
    )
    report = train(spec, tmp_path / "out")
    assert report["step0"]["loss"] == pytest.approx(report["step0"]["expected_loss"], abs=1e-5)


def test_what_a_user_is_told_names_the_settings_of_sft(
    make_sft_spec: MakeLessons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"lower sft\.learning_rate"):
        train(make_sft_spec(learning_rate=1e30, epochs=4), tmp_path)

    def full(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(SFTTrainer, "compute_loss", full)
    with pytest.raises(UserError, match=r"on a single example, .*: try a shorter sft\.max_length"):
        train(make_sft_spec(), tmp_path)


def test_a_stop_is_heard(make_sft_spec: MakeLessons, tmp_path: Path) -> None:
    stop = StopRequest()
    stop.number = 15
    with pytest.raises(Stopped):
        train(make_sft_spec(**FOUR_STEPS), tmp_path, stop=stop)


def test_a_child_reads_the_spec_that_was_written(
    make_sft_spec: MakeLessons, make_spec: MakeSpec, tmp_path: Path
) -> None:
    for spec in (make_sft_spec(), make_spec(), make_spec(lora=None, reference_base=None)):
        spec.write(tmp_path / "spec.json")
        assert read_spec(tmp_path / "spec.json") == spec


def test_a_child_leaves_what_this_process_would(
    make_sft_spec: MakeLessons, files: Files, tmp_path: Path
) -> None:
    spec = make_sft_spec(process="spawn")
    (tmp_path / "child").mkdir()
    spec.write(tmp_path / "spec.json")
    assert __main__.main(str(tmp_path / "spec.json"), str(tmp_path / "child"), "M0") == 0
    train(spec, tmp_path / "here")
    assert files(tmp_path / "child") == files(tmp_path / "here")


def test_rows_are_split_evenly() -> None:
    inputs = {"input_ids": torch.arange(14).view(7, 2), "labels": torch.arange(14).view(7, 2)}
    parts = [part.inputs for part in split_rows(inputs, 3)]
    assert [len(part["input_ids"]) for part in parts] == [3, 2, 2]
    for name, tensor in inputs.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), tensor)


# DPO on what fine-tuning made.


def batch_of(examples: list[PairExample]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, attention and completion mask of all chosen and then all rejected answers."""
    texts = [(e.prompt_ids, e.chosen_ids) for e in examples]
    texts += [(e.prompt_ids, e.rejected_ids) for e in examples]
    width = max(len(prompt) + len(answer) for prompt, answer in texts)
    ids, attention, completion = (torch.zeros(len(texts), width, dtype=torch.long) for _ in "abc")
    for row, (prompt, answer) in enumerate(texts):
        ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        attention[row, : len(prompt) + len(answer)] = 1
        completion[row, len(prompt) : len(prompt) + len(answer)] = 1
    return ids, attention, completion


def independent(policy: Policy, adapter: str | None, examples: list[PairExample]) -> list[float]:
    """Return log-probs by transformers and PEFT alone, one text after the other."""
    from peft import PeftModel

    model = load_base(policy.base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
        model.train()
    found = []
    for example in [(e.prompt_ids, e.chosen_ids) for e in examples] + [
        (e.prompt_ids, e.rejected_ids) for e in examples
    ]:
        prompt, answer = example
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0].float()
        logprobs = logits.log_softmax(-1)
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        found.append(
            sum(logprobs[at, token].item() for at, token in zip(places, answer, strict=True))
        )
    return found


@pytest.mark.parametrize("reference", ["previous", "base"])
def test_the_reference_is_the_fine_tuned_policy_or_the_bare_base(
    make_spec: MakeSpec, tuned: Policy, tmp_path: Path, reference: str
) -> None:
    spec = make_spec(policy=tuned, batch_size=6, micro_batch_size=6)
    if reference == "base":
        spec = dataclasses.replace(spec, reference_adapter=None, reference_is_start=False)
    examples = read_records(Path(spec.examples), PairExample)
    learner = adapters.AdapterLearner(spec)
    make_trainer(learner, load_tokenizer(spec.base.path), examples, spec, None)
    learner.begin()
    with learner.as_reference() as model:
        held, _ = batch_logprobs(model, *batch_of(examples))
    adapter = present(tuned.adapter).path
    of_tuned, of_base = (independent(tuned, path, examples) for path in (adapter, None))
    assert max(abs(a - b) for a, b in zip(of_tuned, of_base, strict=True)) > 1
    right = of_tuned if reference == "previous" else of_base
    assert held.tolist() == pytest.approx(right, abs=1e-5)
    # And training itself uses it: the loss of the first batch, from equation 7 of DPO.
    report = train(spec, tmp_path / "dpo")
    policy, ref = torch.tensor(of_tuned).chunk(2), torch.tensor(right).chunk(2)
    margins = 0.1 * ((policy[0] - ref[0]) - (policy[1] - ref[1]))
    expected = -margins.sigmoid().log().mean().item()
    assert report["step0"]["loss"] == pytest.approx(expected, abs=1e-5)
    assert (expected == pytest.approx(math.log(2), abs=1e-6)) == (reference == "previous")


def test_the_bare_base_in_the_references_place_fails_the_proof_of_step_0(
    make_spec: MakeSpec, tuned: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = adapters.set_reference

    def swapped(model: Any, spec: Any) -> None:
        real(model, dataclasses.replace(spec, reference_adapter=None, reference_is_start=False))

    monkeypatch.setattr(adapters, "set_reference", swapped)
    with pytest.raises(LineageError, match="their weights differ"):
        train(make_spec(policy=tuned), tmp_path / "dpo")
    monkeypatch.setattr(adapters.AdapterLearner, "_check_reference_is_start", lambda _: None)
    with pytest.raises(LineageError, match="every reward must be 0"):
        train(make_spec(policy=tuned), tmp_path / "dpo")


def test_the_loops_first_adapter_starts_as_the_fine_tuned_one(
    make_spec: MakeSpec, tuned: Policy, tmp_path: Path
) -> None:
    train(make_spec(policy=tuned, learning_rate=1e-12), tmp_path / "dpo")
    ours, theirs = load_file(tmp_path / "dpo" / WEIGHTS), load_file(tmp_path / "sft" / WEIGHTS)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.allclose(ours[name], tensor, atol=1e-9), name


def test_what_libraries_print_as_they_load_is_no_output_of_a_run(
    make_sft_spec: MakeLessons, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Talking(ModuleType):
        def __getattr__(self, name: str) -> object:
            print("[INFO] Running in WANDB offline mode")
            return object

    spec = make_sft_spec()
    talking = Talking("iterdpo.training.sft_trainer")
    monkeypatch.setitem(sys.modules, "iterdpo.training.sft_trainer", talking)
    capsys.readouterr()
    assert trainer_class(spec) is object
    assert capsys.readouterr().out == ""
