"""Checkpoints as people have them: what works, and what each broken one is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iterdpo.engines.base import Sampling
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.models.checkpoint import checkpoint_sha256, find_checkpoint
from iterdpo.models.loading import load_tokenizer
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


def reshape(place: Path) -> None:
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))


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
        (reshape, "its tensors are of other shapes than its config.json says"),
    ],
)
def test_a_broken_checkpoint_is_one_line(
    prepared: Callable[[Spoil], Policy], spoil: Spoil, said: str
) -> None:
    with pytest.raises(UserError, match=r"^model\.path=[^\n]*$") as error:
        write(prepared(spoil))
    assert said in str(error.value)
