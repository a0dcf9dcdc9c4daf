"""The tool against servers that tell the truth and servers that lie, with tiny models."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.tools.canary import check_server
from iterdpo.tools.canary.__main__ import main
from iterdpo.tools.canary.verdict import ServedVerdict
from tests.checkpoints import CheckpointOf
from tests.judging.server import serving
from tests.tools.canary.adapters import make_adapter

Logits = Callable[[dict[str, Any], Any], Any]
"""From a request and the ids so far, ``(1, T)``, to logits of the next token, ``(1, V)``."""
HONEST = {"lora": "adapter", "plain": "base"}


@dataclass(frozen=True)
class World:
    """A base, two adapters of it, and both on one model."""

    base: Path
    adapter: Path
    other: Path
    model: Any

    def logits(self, policy: str, ids: Any) -> Any:
        """Return ``(1, V)`` logits of the next token by ``base``, ``adapter`` or ``other``."""
        if policy == "base":
            with self.model.disable_adapter():
                return self.model(input_ids=ids).logits[:, -1]
        self.model.set_adapter(policy)
        return self.model(input_ids=ids).logits[:, -1]

    def check(self, policies: dict[str, str], **settings: Any) -> ServedVerdict:
        """Ask a server on which each name of ``policies`` is served as its value."""
        return check_with(self, self.serving(policies), **settings)

    def serving(self, policies: dict[str, str]) -> Logits:
        return lambda body, ids: self.logits(policies[body["model"]], ids)


@pytest.fixture(scope="module")
def world(checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory) -> World:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, place = checkpoint_of("llama"), tmp_path_factory.mktemp("adapters")
    adapter, other = (make_adapter(base, place / f"a{seed}", seed) for seed in (1, 2))
    plain = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(plain, str(adapter), adapter_name="adapter")
    model.load_adapter(str(other), adapter_name="other")
    return World(base, adapter, other, model.eval())


def check_with(world: World, logits: Logits, **settings: Any) -> ServedVerdict:
    asked: dict[str, Any] = {
        "texts": 8,
        "max_tokens": 6,
        "device": "cpu",
        "prompts": ["Say it.", "Sing."],
    }
    with serving(served_by(logits)) as server:
        return check_server(world.base, world.adapter, server.url, "lora", **(asked | settings))


def served_by(logits: Logits) -> Any:
    """Return the script of a server with the models ``lora`` and, below it, ``plain``."""
    import torch

    lock = threading.Lock()

    def script(_: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not body:
            return 200, {"data": [{"id": "plain"}, {"id": "lora", "parent": "plain"}]}
        generator = torch.Generator().manual_seed(body["seed"])
        ids, stated = list(body["prompt"]), []
        with lock, torch.no_grad():
            for _ in range(body["max_tokens"]):
                row = logits(body, torch.tensor([ids])).log_softmax(-1)[0]
                token = int(torch.multinomial(row.exp(), 1, generator=generator))
                ids.append(token)
                stated.append(float(row[token]))
        tokens = ids[len(body["prompt"]) :]
        return 200, {"choices": [{"token_ids": tokens, "logprobs": {"token_logprobs": stated}}]}

    return script


def test_a_server_that_applies_the_adapter_is_told_so(world: World) -> None:
    found = world.check(HONEST)
    assert (found.outcome, found.texts, found.tokens) == ("applied", 8, 48)
    assert found.share == pytest.approx(1, abs=1e-3)
    assert found.left < 1e-5


def test_an_adapter_that_is_applied_in_part_is_found_out(world: World) -> None:
    def half(body: dict[str, Any], ids: Any) -> Any:
        base = world.logits("base", ids)
        return base if body["model"] == "plain" else (base + world.logits("adapter", ids)) / 2

    found = check_with(world, half)
    assert found.outcome == "another"
    assert found.share == pytest.approx(0.5, abs=0.1)


def test_every_other_text_without_the_adapter_is_found_out(world: World) -> None:
    """As where several servers stand behind one address, and some of them lack the adapter."""

    def either(body: dict[str, Any], ids: Any) -> Any:
        applied = body["model"] == "lora" and body["seed"] % 2
        return world.logits("adapter" if applied else "base", ids)

    assert check_with(world, either).outcome == "mixed"


def test_log_probs_of_other_settings_or_of_another_base_are_told_before_any_verdict(
    world: World,
) -> None:
    def sharper(body: dict[str, Any], ids: Any) -> Any:
        return world.serving(HONEST)(body, ids) / 0.05

    with pytest.raises(UserError, match=r"its base, plain, is \d\.\d\d nats a token off BASE="):
        check_with(world, sharper)


def command(world: World, logits: Logits, adapter: Path, *more: str) -> int:
    with serving(served_by(logits)) as server:
        return main([
            str(world.base), str(adapter), server.url, "--name", "lora", "--texts", "8",
            "--max-tokens", "6", "--device", "cpu", *more,
        ])  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "status", "said"),
    [
        ("adapter", 0, "applied: lora is BASE with ADAPTER\nshare of ADAPTER's movement: 1.000 ±"),
        ("base", 1, "not applied: lora answers as BASE does without ADAPTER\n"),
        ("other", 1, "not applied: lora answers neither as BASE with ADAPTER nor as without it\n"),
    ],
)
def test_the_exit_status_is_the_verdict(
    world: World, capsys: pytest.CaptureFixture[str], policy: str, status: int, said: str
) -> None:
    logits = world.serving({**HONEST, "lora": policy})
    assert command(world, logits, world.adapter) == status
    assert capsys.readouterr().out.startswith(said)


def test_a_weak_adapter_behind_noise_is_left_open(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    def noisy(body: dict[str, Any], ids: Any) -> Any:
        logits = world.logits("base", ids)
        return logits + 0.05 * torch.randn(logits.shape, generator=noise)

    noise = torch.Generator().manual_seed(0)
    weak = make_adapter(world.base, tmp_path / "weak", 3, size=0.02)
    assert command(world, noisy, weak) == 3
    out = capsys.readouterr().out
    assert out.startswith("inconclusive: ADAPTER moves these texts too little for the noise\n")
    assert "texts like these would decide: --texts " in out


def test_prompts_of_a_file_are_asked_in_turn(world: World, tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"q": "One."}\n{"q": "Two."}\n{"q": "One."}\n')
    asked = []

    def heard(body: dict[str, Any], ids: Any) -> Any:
        asked.append(tuple(body["prompt"]))
        return world.serving(HONEST)(body, ids)

    assert check_with(world, heard, prompts=file, field="q").outcome == "applied"
    assert len(set(asked)) == 2


def refusal(world: World, capsys: pytest.CaptureFixture[str], adapter: Path, *more: str) -> str:
    assert command(world, world.serving(HONEST), adapter, *more) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_an_adapter_that_changes_nothing_is_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = make_adapter(world.base, tmp_path / "nothing", 0, size=0.0)
    assert "changes nothing of BASE" in refusal(world, capsys, nothing)


@pytest.mark.parametrize("fault", ["names", "shapes"])
def test_an_adapter_of_another_base_is_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    from safetensors.torch import load_file, save_file

    other = make_adapter(world.base, tmp_path / "other", 4)
    weights = load_file(other / "adapter_model.safetensors")
    if fault == "names":
        weights = {name.replace("layers.1.", "layers.7."): it for name, it in weights.items()}
    else:
        weights = {name: it[:, :4].contiguous() for name, it in weights.items()}
    save_file(weights, other / "adapter_model.safetensors")
    assert f"ADAPTER={other}: does not fit BASE: " in refusal(world, capsys, other)


def test_what_is_no_adapter_is_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no adapter_config.json there" in refusal(world, capsys, tmp_path)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_text("[")
    assert "is no JSON object" in refusal(world, capsys, tmp_path)


def test_settings_that_cannot_be_are_named(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVER_KEY", raising=False)
    for arguments, said in (
        (("--texts", "7"), "--texts=7: must be at least 8"),
        (("--device", "cuda:99"), "--device=cuda:99"),
        (("--key-env", "SERVER_KEY"), "--key-env=SERVER_KEY: this environment variable holds no"),
        (("--key-env", "sk-abc"), "--key-env: is no name"),
        (("--prompts", "absent.txt"), "absent.txt"),
    ):
        assert said in refusal(world, capsys, world.adapter, *arguments)
    absent = replace(world, base=world.base / "absent")
    assert "BASE=" in refusal(absent, capsys, world.adapter)
