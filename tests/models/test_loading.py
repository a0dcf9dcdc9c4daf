"""Checkpoints as people have them: what works, and what each broken one is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iterdpo.engines.base import Sampling
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.checkpoint import checkpoint_sha256, find_checkpoint
from iterdpo.models.loading import context_of, load_tokenizer
from iterdpo.records import Policy
from iterdpo.stages.base import PrepareBase
from iterdpo.store.runner import Stages
from tests.checkpoints import CheckpointOf
from tests.narrowing import answered

Spoil = Callable[[Path], None]
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
WEIGHTS, TENSOR = "model.safetensors", "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def prepared(checkpoint_of: CheckpointOf, tmp_path: Path) -> Callable[[Spoil], Policy]:
    """A function that makes a bare policy of a copy of a checkpoint with something done to it."""

    def prepare(spoil: Spoil) -> Policy:
        copy = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "copy"))
        spoil(copy)
        found = find_checkpoint(str(copy), None, "model.path")
        stage = PrepareBase(found, checkpoint_sha256(found), "none", "float32", False)
        return Stages(tmp_path / "store").run(stage).value

    return prepare


def write(policy: Policy) -> list[str]:
    """Return answers to prompts of two lengths, so that one is padded."""
    engine = TransformersEngine(TransformersSettings(device="cpu"))
    asked = [Request.of("Name three animals."), Request.of("0 1")]
    greedy = Sampling(n=1, temperature=0.0, max_tokens=5, seed=0)
    return [one.text for one in answered(engine.generate(asked, policy, greedy))]


def add_tokens(checkpoint: Path, *, special: Any = None) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if special:
        tokenizer.add_special_tokens(special)
    else:
        tokenizer.add_tokens(["trout"])
    tokenizer.save_pretrained(checkpoint)


def test_a_padding_token_that_the_model_does_not_have_works(
    prepared: Callable[[Spoil], Policy], checkpoint_of: CheckpointOf
) -> None:
    padded = prepared(lambda place: add_tokens(place, special={"pad_token": "<pad>"}))
    path = str(checkpoint_of("llama"))
    plain = Policy(padded.name, type(padded.base)(path, "0", "none", "float32", path))
    assert write(padded) == write(plain)


def test_a_special_token_that_nothing_writes_may_lie_outside_the_model(
    prepared: Callable[[Spoil], Policy],
) -> None:
    policy = prepared(
        lambda place: add_tokens(place, special={"extra_special_tokens": ["<image>"]})
    )
    assert len(write(policy)) == 2


@pytest.mark.parametrize("template", [False, True])
def test_a_tokenizer_that_is_larger_than_the_model_is_refused(
    prepared: Callable[[Spoil], Policy], template: bool
) -> None:
    def enlarge(place: Path) -> None:
        add_tokens(place, special={"extra_special_tokens": ["<|turn|>"]} if template else None)
        if template:
            (place / "chat_template.jinja").write_text("<|turn|>{{ messages[0].content }}")

    policy = prepared(enlarge)
    with pytest.raises(UserError, match=r"^judge\.path=.*: its tokenizer writes tokens up to \d+"):
        load_tokenizer(policy.base.path, key="judge.path")
    with pytest.raises(UserError, match=r"^model\.path=.*and the model has \d+ of them"):
        write(policy)


def named_templates(place: Path) -> None:
    (place / "chat_template.jinja").unlink()
    (place / "additional_chat_templates").mkdir()
    for name in ("tool_use", "rag"):
        (place / "additional_chat_templates" / f"{name}.jinja").write_text("{{ messages }}")


def spoil_tensor(place: Path, value: float | None) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(place / WEIGHTS)
    if value is None:
        del tensors[TENSOR]
    else:
        tensors[TENSOR][3, 5] = value
    save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})


def configure(place: Path, file: str = "config.json", **values: Any) -> None:
    before = json.loads((place / file).read_text())
    (place / file).write_text(json.dumps(before | values))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (named_templates, "its tokenizer has the chat templates rag, tool_use and no default"),
        (lambda place: (place / WEIGHTS).write_text(POINTER), f"{WEIGHTS} is a Git LFS pointer"),
        (lambda place: (place / "tokenizer.json").write_text(POINTER), "json is a Git LFS pointer"),
        (lambda place: (place / WEIGHTS).write_bytes(b""), f"{WEIGHTS} is damaged"),
        (lambda place: (place / "config.json").write_text("{"), "config.json is no JSON object"),
        (lambda place: (place / "tokenizer.json").write_text("{}"), "tokenizer cannot be loaded"),
        (lambda place: spoil_tensor(place, float("nan")), f"{TENSOR} in {WEIGHTS} holds NaN or"),
        (lambda place: spoil_tensor(place, float("inf")), f"{TENSOR} in {WEIGHTS} holds NaN or"),
        (lambda place: spoil_tensor(place, None), f"not in its files, such as {TENSOR}"),
        (
            lambda place: configure(place, "tokenizer_config.json", model_max_length="4k"),
            "its tokenizer has model_max_length='4k'",
        ),
        (lambda place: configure(place, attention_bias="no"), "cannot be loaded: Validation error"),
        (lambda place: configure(place, hidden_act=None), "cannot be loaded: Validation error"),
        (lambda place: configure(place, vocab_size=None), "cannot be loaded: Validation error"),
        (
            lambda place: configure(place, intermediate_size=64),
            "its tensors are of other shapes than its config.json says",
        ),
    ],
)
def test_a_broken_checkpoint_is_one_line(
    prepared: Callable[[Spoil], Policy], spoil: Spoil, said: str
) -> None:
    with pytest.raises(UserError, match=r"^model\.path=[^\n]*$") as error:
        write(prepared(spoil))
    assert said in str(error.value)


def test_layers_beyond_those_declared_are_left_out_and_said(
    prepared: Callable[[Spoil], Policy], caplog: pytest.LogCaptureFixture
) -> None:
    write(prepared(lambda place: configure(place, num_hidden_layers=1)))
    (said,) = {item.getMessage() for item in caplog.records if "left out" in item.getMessage()}
    assert "left out: 9 tensors in its files that the model of its config.json does not" in said
    assert said.endswith("such as model.layers.1.input_layernorm.weight")


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("value", ["4k", -2, 10**30, 2.5, True, {"a": 1}, float("nan"), [8, "4k"]])
@pytest.mark.parametrize("key", ["max_position_embeddings", "num_hidden_layers", "eos_token_id"])
def test_a_size_that_no_model_can_have_is_told_before_a_run(
    tmp_path: Path, file: str, value: object, key: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    for values in ({key: value}, {"text_config": {key: value}}):
        (tmp_path / file).write_text(json.dumps(values))
        with pytest.raises(UserError, match=rf"^model\.path=[^\n]*{key}=[^\n]*$") as told:
            find_checkpoint(str(tmp_path), None, "model.path")
        assert f"its {file} has " in str(told.value)
        assert len(str(told.value)) < 400


def test_a_size_that_a_model_can_have_is_none_of_our_business(tmp_path: Path) -> None:
    sizes = {"num_key_value_heads": [8, 4], "head_dim": None, "eos_token_id": [1, 2]}
    tokens = {"pad_token_id": -1, "vocab_size": 8, "text_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(sizes | tokens))
    assert find_checkpoint(str(tmp_path), None, "model.path") == tmp_path


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"text_config": "llama"}, "text_config that is no object"),
        ({"vocab_size": 8, "pad_token_id": 8}, "pad_token_id=8, and the model has 8 tokens"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_a_line(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=said):
        find_checkpoint(str(tmp_path), None, "model.path")


def test_a_model_that_declares_no_longest_text_needs_one() -> None:
    silent = SimpleNamespace(get_text_config=SimpleNamespace)
    with pytest.raises(UserError, match=r"^model\.context=null: the checkpoint declares none"):
        context_of(silent, None)
    assert context_of(silent, 9) == 9
