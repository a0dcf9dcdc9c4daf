"""M0 made from the base: what is learned, what is merged, and what the keys depend on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iterdpo.assemble.judges import make_judge
from iterdpo.assemble.sft import make_sft
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.conversation import Message
from iterdpo.data.instructions import Demonstration
from iterdpo.engines.base import TokenSequence
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.errors import LineageError, UserError
from iterdpo.models.canary import Canary
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat
from iterdpo.models.checkpoint import checkpoint_sha256
from iterdpo.models.loading import load_tokenizer
from iterdpo.prompts.lab import LabPrompts
from iterdpo.stages.base import PrepareBase
from iterdpo.stages.sft import Merge, SupervisedFineTuning
from iterdpo.stages.sft_tokens import cut, sft_example_of, sft_examples_of
from iterdpo.store.runner import Stages
from iterdpo.store.stage import stage_identity
from iterdpo.training.spec import SftExample
from tests.checkpoints import OPEN_THOUGHT, CheckpointOf
from tests.logprobs import sums

TEXTS = (("Name three animals.", "Score: 4"), ("def add(a, b):", "return a + b"), ("0 1", "2 3"))


def demonstration(question: str, answer: str) -> Demonstration:
    return Demonstration((Message("user", question),), answer, "line 1")


@pytest.fixture
def engine() -> Iterator[VerifiedEngine]:
    engine = VerifiedEngine(TransformersEngine(TransformersSettings(device="cpu")))
    yield engine
    engine.close()


@pytest.fixture
def config_of() -> Callable[..., Config]:
    from hydra import compose, initialize_config_dir

    def get(*overrides: str) -> Config:
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            return typed(compose("config", [*overrides]))

    return get


@pytest.fixture
def make_tune(
    config_of: Callable[..., Config], engine: VerifiedEngine
) -> Callable[..., SupervisedFineTuning]:
    """A function from changes to a step that teaches a few short answers."""
    config = config_of("sft=qlora", "sft.path=[unread]", "sft.epochs=6", "sft.learning_rate=0.02")

    def make(**changes: Any) -> SupervisedFineTuning:
        sft = {name: changes.pop(name) for name in list(changes) if hasattr(config.sft, name)}
        step = SupervisedFineTuning(
            demonstrations=[demonstration(*text) for text in TEXTS],
            lora=config.model.adapter,
            sft=dataclasses.replace(config.sft, batch_size=3, micro_batch_size=3, **sft),
            longest=None,
            attention=None,
            trust_remote_code=False,
            seed=0,
            engine=engine,
            max_engine_gap=0.05,
        )
        return dataclasses.replace(step, **changes)

    return make


@pytest.fixture
def base(checkpoint_of: CheckpointOf) -> PrepareBase:
    checkpoint = checkpoint_of("llama")
    return PrepareBase(checkpoint, checkpoint_sha256(checkpoint), "nf4", "float32", False)


def test_a_lesson_is_what_the_engine_reads_and_should_write(checkpoint_of: CheckpointOf) -> None:
    chat = Chat(load_tokenizer(str(checkpoint_of("llama"))))
    (example,) = sft_examples_of(
        [demonstration("Name three animals.", "Score: 4")], str(checkpoint_of("llama")), None
    )
    assert example.prompt_ids == chat.encode(Request.of("Name three animals."))
    text = chat.tokenizer.decode(list(example.prompt_ids + example.answer_ids))
    assert text == (
        "<|im_start|>user\nName three animals.<|im_end|>\n<|im_start|>assistant\nScore: 4<|im_end|>"
    )
    # Text that spells the end of a turn does not end it: one end in the prompt, one in the answer.
    end = chat.tokenizer.eos_token_id
    sly = sft_example_of(chat, demonstration("a<|im_end|>b", "c<|im_end|>d"), (end,))
    assert (sly.prompt_ids.count(end), sly.answer_ids.count(end)) == (1, 1)
    assert sly.answer_ids[-1] == end


def test_lessons_that_the_template_does_not_take_are_named(
    checkpoint_of: CheckpointOf, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "thinking"))
    (checkpoint / "chat_template.jinja").write_text(OPEN_THOUGHT)
    given = [demonstration("Name a fish.", text) for text in ("Trout.", "</think>\n\nTrout.")]
    with pytest.raises(UserError, match=r"^sft: .*: the answer holds no whole thought: [^\n]*$"):
        sft_examples_of(given, str(checkpoint), None)
    assert len(sft_examples_of(given[1:], str(checkpoint), None)) == 1


def test_the_end_of_an_answer_is_cut_first() -> None:
    example = SftExample((1, 2, 3), (4, 5, 6))
    assert cut(example, None) == cut(example, 6) == example
    assert cut(example, 5) == SftExample((1, 2, 3), (4, 5))
    assert cut(example, 3) == cut(example, 2) == SftExample((1, 2, 3), ())


def test_a_prompt_that_leaves_no_room_is_left_out_and_counted(
    make_tune: Callable[..., SupervisedFineTuning],
    base: PrepareBase,
    checkpoint_of: CheckpointOf,
    tmp_path: Path,
) -> None:
    stages = Stages(tmp_path)
    path = str(checkpoint_of("llama"))
    lengths = [len(sft_examples_of([demonstration(*t)], path, None)[0].prompt_ids) for t in TEXTS]
    tuned = stages.run(make_tune(longest=sorted(lengths)[0] + 1, epochs=1), stages.run(base))
    assert (tuned.metrics["examples"], tuned.metrics["dropped_too_long"]) == (1, 2)
    with pytest.raises(UserError, match=r"^sft\.max_length=2048: no answer of unread fits into 3"):
        stages.run(make_tune(longest=3), stages.run(base))


def test_the_adapter_is_merged_into_the_unquantized_weights(
    make_tune: Callable[..., SupervisedFineTuning],
    base: PrepareBase,
    engine: VerifiedEngine,
    tmp_path: Path,
) -> None:
    stages = Stages(tmp_path)
    bare = stages.run(base)
    tuned = stages.run(make_tune(), bare)
    merged = stages.run(Merge(engine, False), tuned)
    m0, whole = tuned.value, merged.value
    assert m0.adapter is not None
    assert (m0.base, m0.parent) == (bare.value.base, bare.value.fingerprint)
    assert (whole.adapter, whole.parent, whole.name) == (None, bare.value.fingerprint, "M0")
    assert whole.base.quantization == "nf4"
    assert len({bare.value.fingerprint, m0.fingerprint, whole.fingerprint}) == 3
    # W + alpha / rank * B A, of LoRA (arXiv 2106.09685, section 4.1).
    before = load_file(base.checkpoint / "model.safetensors")
    after = load_file(Path(whole.base.path) / "model.safetensors")
    adapter = load_file(Path(m0.adapter.path) / "adapter_model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{x}.weight"] for x in "AB")
    scale = 32 / 16
    expected = before[f"{name}.weight"] + scale * (b @ a)
    assert torch.allclose(after[f"{name}.weight"], expected, atol=1e-6)
    assert (after[f"{name}.weight"] - before[f"{name}.weight"]).abs().max() > 1e-3
    assert torch.equal(after["model.norm.weight"], before["model.norm.weight"])
    # What is served is the quantized sum, which the canary tells from the bare base.
    for policy in (bare.value, m0, whole):
        engine.verify(policy)
        if policy.parent:
            assert engine.results[policy.fingerprint].outcome == "applied"
    texts = Canary.read(merged.directory / "canary.json").texts
    asked = [TokenSequence(text.prompt_ids, text.token_ids) for text in texts]
    for policy, side in ((bare.value, "before"), (whole, "after")):
        values = sums(getattr(text, side) for text in texts)
        assert sums(engine.sequence_logprobs(asked, policy)) == pytest.approx(values, abs=1e-4)


def test_an_engine_that_serves_the_bare_base_for_the_merged_one_is_caught(
    make_tune: Callable[..., SupervisedFineTuning],
    base: PrepareBase,
    engine: VerifiedEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = Stages(tmp_path)
    bare = stages.run(base)
    merged = stages.run(Merge(engine, False), stages.run(make_tune(), bare))
    real = TransformersEngine._load_base
    monkeypatch.setattr(
        TransformersEngine, "_load_base", lambda self, base: real(self, bare.value.base)
    )
    with pytest.raises(LineageError, match="answers like the policy before"):
        engine.verify(merged.value)


def key_of(stage: Any) -> str:
    return json.dumps(stage_identity(stage), sort_keys=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "merged"},
        {"path": ("elsewhere",)},
        {"process": "spawn"},
        {"checkpoint_steps": None},
        {"step0_tolerance": 1.0},
        {"max_length": None},
        {"max_engine_gap": None},
        {"trust_remote_code": True},
        {"demonstrations": [dataclasses.replace(demonstration(*t), row="row 7") for t in TEXTS]},
    ],
)
def test_what_changes_no_result_changes_no_key(
    make_tune: Callable[..., SupervisedFineTuning], changes: dict[str, Any]
) -> None:
    assert key_of(make_tune(**changes)) == key_of(make_tune())


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.5},
        {"epochs": 1},
        {"longest": 64},
        {"seed": 1},
        {"lora": None},
        {"attention": "sdpa"},
        {"demonstrations": [demonstration(*text) for text in TEXTS[:2]]},
        {"demonstrations": [demonstration(*text) for text in reversed(TEXTS)]},
        {"demonstrations": [demonstration(*t) for t in (*TEXTS[:2], ("0 1", "2 4"))]},
        {
            "demonstrations": [
                Demonstration((Message("system", "s"), Message("user", q)), a, "") for q, a in TEXTS
            ]
        },
    ],
)
def test_what_is_learned_and_how_is_in_the_key(
    make_tune: Callable[..., SupervisedFineTuning], changes: dict[str, Any]
) -> None:
    assert key_of(make_tune(**changes)) != key_of(make_tune())


def test_examples_come_from_every_file_and_keep_to_the_model(
    config_of: Callable[..., Config], engine: VerifiedEngine, tmp_path: Path
) -> None:
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    (tmp_path / "one.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    (tmp_path / "two.jsonl").write_text(json.dumps({"prompt": "q2", "response": "a2"}) + "\n")
    files = f"sft.path=[{tmp_path / 'one.jsonl'},{tmp_path / 'two.jsonl'}]"
    config = config_of("sft=qlora", files)
    checkpoint = str(conf_directory().parent / "iterdpo" / "lab" / "seed")
    judge = make_judge(config, engine)
    step = make_sft(config, engine, checkpoint, LabPrompts(), judge)
    assert step is not None
    assert [(item.prompt, item.response) for item in step.demonstrations] == [
        ((Message("user", "q"),), "a"), ((Message("user", "q2"),), "a2"),
    ]  # fmt: skip
    declared = json.loads((Path(checkpoint) / "config.json").read_text())
    assert step.longest == declared["max_position_embeddings"] < 2048
    assert make_sft(config_of(), engine, checkpoint, LabPrompts(), judge) is None
    absent = config_of("sft=qlora", "sft.path=[absent.jsonl]")
    with pytest.raises(UserError, match=r"sft\.path=.*absent\.jsonl: no such file"):
        make_sft(absent, engine, checkpoint, LabPrompts(), judge)
