"""At the door: a base that comes quantized, and what it asks of the other settings."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble import assemble, make_engine
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.engines.placement import Sizes
from iterdpo.errors import ConfigError, UserError
from tests.checkpoints import CheckpointOf
from tests.narrowing import present
from tests.prequantized import FORMATS, declare

LOCAL = ("model=local", "prompts=lab", "engine=transformers")


def config_of(*overrides: str) -> Config:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", [*overrides]))


@pytest.fixture
def checkpoint(checkpoint_of: CheckpointOf, tmp_path: Path) -> Callable[[str | None], Path]:
    """A function from a format's name, or None for plain weights, to what declares to be that."""

    def get(name: str | None) -> Path:
        place = tmp_path / str(name)
        if not place.exists():
            shutil.copytree(checkpoint_of("qwen"), place)
            declare(place, FORMATS[name].config() if name else None)
        return place

    return get


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("gptq", ("model.quantization=gptq",)),
        ("gptq-8-bits", ("model.quantization=gptq",)),
        ("gptq-reordered", ("model.quantization=gptq",)),
        ("awq", ("model.quantization=awq",)),
        ("awq", ("model.quantization=awq", "sft=qlora", "sft.path=[a.jsonl]")),
        (None, ("model.quantization=nf4",)),
        (None, ("model.quantization=none", "model.adapter=null")),
    ],
)
def test_what_goes_together_is_taken(
    checkpoint: Callable[[str | None], Path], name: str | None, overrides: tuple[str, ...]
) -> None:
    config_of(*LOCAL, f"model.path={checkpoint(name)}", *overrides)


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("gptq", ("model.quantization=nf4",), r"by gptq; set model\.quantization=gptq, or give"),
        ("awq", ("model.quantization=none",), r"by awq; set model\.quantization=awq, or give its"),
        ("awq", ("model.quantization=gptq",), r"by awq; set model\.quantization=awq"),
        (None, ("model.quantization=gptq",), r"is not quantized .* set model\.quantization=nf4"),
        (
            "gptq",
            ("model.quantization=gptq", "model.adapter=null"),
            r"cannot be trained; give the unquantized original in model\.path with model\.quantiz",
        ),
        (
            "gptq",
            ("model.quantization=gptq", "sft=merged", "sft.path=[a.jsonl]"),
            r"sft\.method=merged: .* no adapter can be merged into them; choose sft=qlora",
        ),
        (
            "awq",
            ("model.quantization=awq", "engine.serve=original"),
            r"engine\.serve=original: with model\.quantization=awq the checkpoint itself is what",
        ),
    ],
)
def test_what_does_not_is_one_line(
    checkpoint: Callable[[str | None], Path],
    name: str | None,
    overrides: tuple[str, ...],
    said: str,
) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        config_of(*LOCAL, f"model.path={checkpoint(name)}", *overrides)
    assert len(raised.value.problems) == 1


def test_the_lab_is_not_quantized() -> None:
    with pytest.raises(ConfigError, match=r"model\.quantization=gptq: lab is not quantized"):
        config_of("model.quantization=gptq")


@pytest.mark.parametrize(
    ("name", "dtype", "said"),
    [
        ("gptq", "float32", "model.dtype=float32: vLLM serves gptq in bfloat16 and float16 only"),
        ("gptq-reordered", "bfloat16", "vLLM does not serve desc_act=true of this checkpoint"),
        ("gptq-asymmetric", "bfloat16", "vLLM does not serve sym=false of this checkpoint"),
    ],
)
def test_what_vllm_does_not_serve_is_one_line(
    vllm: None, checkpoint: Callable[[str | None], Path], name: str, dtype: str, said: str
) -> None:
    asked = (
        "model=local", "prompts=lab", "engine=vllm", "model.quantization=gptq",
        f"model.path={checkpoint(name)}", f"model.dtype={dtype}",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=re.escape(said)) as raised:
        config_of(*asked)
    assert len(raised.value.problems) == 1


def test_vllm_is_refused_the_type_that_auto_became(
    vllm: None, checkpoint: Callable[[str | None], Path]
) -> None:
    config = config_of(
        "model=local", "prompts=lab", "engine=vllm", "engine.device=cpu", "model.dtype=auto",
        "model.quantization=gptq", f"model.path={checkpoint('gptq')}",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"model\.dtype=float32: vLLM serves gptq in bfloat16 and"):
        make_engine(config)


@pytest.mark.parametrize(
    ("held", "asked", "said"),
    [
        ("gptq", "nf4", "Org/Name is quantized already, by gptq; set model.quantization=gptq"),
        (None, "awq", "Org/Name is not quantized"),
    ],
)
def test_a_checkpoint_of_the_hub_is_looked_at_once_it_is_there(
    checkpoint: Callable[[str | None], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    held: str | None,
    asked: str,
    said: str,
) -> None:
    import huggingface_hub

    place = str(checkpoint(held))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: place)
    config = config_of(
        *LOCAL, "model.path=Org/Name", f"model.quantization={asked}", "engine.device=cpu",
        "tracking=none", f"store.root={tmp_path / 'store'}",
    )  # fmt: skip
    with pytest.raises(UserError, match=re.escape(said)):
        assemble(config, tmp_path / "run")


def test_a_gpu_is_asked_for_packed_weights_by_vllm_and_for_plain_ones_by_transformers(
    checkpoint: Callable[[str | None], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    class Card:
        total_memory = 10**10

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card)
    config = config_of(
        *LOCAL, "model.quantization=gptq", f"model.path={checkpoint('gptq')}",
        "model.dtype=bfloat16",
    )  # fmt: skip
    place = Path(config.model.path)
    sizes = present(Sizes.of(config.model, place))
    plain, packed = (
        sizes.estimate([config.training], name, 256) for name in ("transformers", "vllm")
    )
    # Two layers: q and o of 64 x 64, k and v of 64 x 32, three of 64 x 128. 16 bits become 4.15625.
    weights = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    assert plain.engine - packed.engine == weights * (16 - 4.15625) / 8
    assert plain.trainer == packed.trainer
