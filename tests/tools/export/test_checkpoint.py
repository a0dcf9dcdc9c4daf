"""A policy as a checkpoint: what any program loads is the policy."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from iterdpo.errors import LineageError, UserError
from iterdpo.evaluation.best import Best
from iterdpo.evaluation.summary_file import read_summary, write_summary
from iterdpo.models.canary import Canary, CanaryText
from iterdpo.models.checkpoint import checkpoint_sha256, save_dequantized
from iterdpo.records import Adapter, Base, Policy
from iterdpo.store.hashing import file_sha256
from iterdpo.tools.export.__main__ import main
from iterdpo.tools.export.checkpoint import LINEAGE_FILE, On, export
from tests.checkpoints import CheckpointOf
from tests.narrowing import present

TEXTS = ((5, 9, 20, 31, 40, 17), (7, 8, 60, 61, 62))


def make_adapter(checkpoint: Path, directory: Path, scale: float) -> Adapter:
    """Write an adapter whose update has about the given size, and a canary beside it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(checkpoint),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=scale)
    place = directory / "adapter"
    model.save_pretrained(str(place))
    canary = Canary(
        tuple(CanaryText(text[:3], text[3:], (0.0,), (0.0,), (0.0,)) for text in TEXTS),
        0.0,
        1e-5,
        1,
    )
    (directory / "canary.json").write_text(json.dumps(dataclasses.asdict(canary)))
    return Adapter(str(place), file_sha256(place / "adapter_model.safetensors"))


@pytest.fixture(scope="module")
def policy(checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """An adapter on an NF4 base with its dequantized checkpoint."""
    checkpoint = checkpoint_of("llama")
    place = tmp_path_factory.mktemp("policy")
    sha = checkpoint_sha256(checkpoint)
    base = Base(str(checkpoint), sha, "nf4", "float32", str(place / "dequantized"))
    save_dequantized(base, place / "dequantized")
    return Policy("M1", base, make_adapter(checkpoint, place, 0.05), parent="bare")


def logits(
    place: Path | str, adapter: Adapter | None = None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, adapter.path)
    with torch.no_grad():
        return torch.cat([model(torch.tensor([text])).logits[0].float() for text in TEXTS])


@pytest.mark.parametrize("on", ["original", "dequantized"])
def test_what_transformers_loads_is_base_and_adapter(
    policy: Policy, tmp_path: Path, on: On
) -> None:
    said = export(policy, tmp_path / "out", on=on)
    assert said.startswith("M1 merged, in float32: ")
    under: dict[On, str] = {"original": policy.base.path, "dequantized": policy.base.dequantized}
    mine, other = under.pop(on), *under.values()
    found = logits(tmp_path / "out")
    torch.testing.assert_close(found, logits(mine, policy.adapter), rtol=0, atol=1e-4)
    assert (found - logits(other, policy.adapter)).abs().max() > 1e-2
    lineage = json.loads((tmp_path / "out" / LINEAGE_FILE).read_text())
    assert (lineage["model"], lineage["fingerprint"]) == ("M1", policy.fingerprint)
    assert (lineage["on"], lineage["adapter_sha256"]) == (on, present(policy.adapter).sha256)
    assert lineage["check"]["texts"] == 2
    assert lineage["check"]["lost"] < 1e-3


def test_tokenizer_and_template_come_along_and_nothing_of_peft(
    policy: Policy, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    export(policy, tmp_path / "out", on="dequantized")
    assert not list((tmp_path / "out").glob("adapter*"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    turns = [{"role": "user", "content": "Name 3 animals."}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == AutoTokenizer.from_pretrained(
        policy.base.path
    ).apply_chat_template(turns, tokenize=False)


def test_the_written_type_is_the_declared_one(policy: Policy, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    export(policy, tmp_path / "out", dtype="bfloat16")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "quantization_config" not in config
    exact = logits(policy.base.path, policy.adapter)
    off = (logits(tmp_path / "out") - exact).square().mean().sqrt() / exact.std()
    assert 1e-4 < off < 8 / 128


def test_what_rounding_would_take_away_is_not_written(
    policy: Policy, checkpoint_of: CheckpointOf, tmp_path: Path
) -> None:
    faint = make_adapter(checkpoint_of("llama"), tmp_path / "faint", 1e-5)
    with pytest.raises(UserError, match=r"--dtype bfloat16: rounding .* --dtype float32"):
        export(dataclasses.replace(policy, adapter=faint), tmp_path / "out", dtype="bfloat16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faint"]


def test_a_merge_that_is_not_the_policy_is_not_published(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(  # as if the adapter had been lost on the way
        "iterdpo.training.merging.merged_model",
        lambda base, *_: AutoModelForCausalLM.from_pretrained(base.path),
    )
    with pytest.raises(LineageError, match="the merged checkpoint differs from M1 on 2 texts"):
        export(policy, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already, and nothing is written over"):
        export(policy, tmp_path / "out")


def test_a_place_that_cannot_be_written_to_is_a_line(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(target: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))

    monkeypatch.setattr("iterdpo.tools.export.checkpoint.published_directory", refuse)
    with pytest.raises(UserError, match=r"cannot be read and written .* --out DIR"):
        export(policy, tmp_path / "out")


def test_own_weights_are_copied(checkpoint_of: CheckpointOf, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(checkpoint_of("llama"), tmp_path / "model")
    (checkpoint / "README.md").write_text("of another model")
    base = Base(str(checkpoint), checkpoint_sha256(checkpoint), "none", "float32", str(checkpoint))
    policy = Policy("M2", base, parent="M1")
    said = export(policy, tmp_path / "out")
    assert said == "M2, whose own weights were copied"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in checkpoint.iterdir()} - {"README.md"} | {LINEAGE_FILE}
    torch.testing.assert_close(logits(tmp_path / "out"), logits(checkpoint), rtol=0, atol=0)
    with pytest.raises(UserError, match=r"--dtype bfloat16: M2 has no adapter to merge"):
        export(policy, tmp_path / "other", dtype="bfloat16")
    stale = Policy("M2", dataclasses.replace(base, sha256="0" * 64), parent="M1")
    with pytest.raises(UserError, match="has changed since the run"):
        export(stale, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_bare_base_as_training_saw_it(policy: Policy, tmp_path: Path) -> None:
    bare = Policy("M0", policy.base)
    export(bare, tmp_path / "out", on="dequantized")
    torch.testing.assert_close(
        logits(tmp_path / "out"), logits(policy.base.dequantized), rtol=0, atol=0
    )
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_packed_weights_are_not_merged_into(policy: Policy, tmp_path: Path) -> None:
    packed = dataclasses.replace(policy, base=dataclasses.replace(policy.base, quantization="gptq"))
    with pytest.raises(UserError, match=r"comes quantized \(gptq\), .* take --on dequantized"):
        export(packed, tmp_path / "out")
    assert export(packed, tmp_path / "out", on="dequantized").startswith("M1 merged")


def test_weights_that_are_gone_are_named(policy: Policy, tmp_path: Path) -> None:
    moved = Policy("M1", dataclasses.replace(policy.base, path="/no/such"), policy.adapter)
    with pytest.raises(UserError, match=r"^/no/such: the weights under M1 are no longer there"):
        export(moved, tmp_path / "out", on="dequantized")


def test_the_command(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m1"
    assert main([str(finished_run), "--model", "M1", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: M1 merged, in float32: ")
    assert main([str(finished_run), "--model", "M1", "--out", str(out)]) == 2
    assert main([str(finished_run), "--model", "M9", "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "exists already" in said[0]
    assert "no model M9; there are M0, M1, M2" in said[1]


def test_the_best_model_is_written_unless_another_is_named(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run, symlinks=True)
    best = Best("M1", "the highest quality", "oracle")
    write_summary(dataclasses.replace(read_summary(run), best=best), run)
    assert main([str(run), "--out", str(tmp_path / "out")]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path / 'out'}: M1 merged, in float32: ")
    said = "M1 is the run's best model: the highest quality (--model takes another: M0, M2)"
    assert others == [said]
    assert json.loads((tmp_path / "out" / LINEAGE_FILE).read_text())["model"] == "M1"
    assert main([str(run), "--model", "M0", "--out", str(tmp_path / "m0")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'm0'}: M0, whose own weights were copied"
    ]
