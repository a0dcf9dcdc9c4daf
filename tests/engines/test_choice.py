from __future__ import annotations

import re
from typing import Literal

import pytest

from iterdpo.engines.choice import choose_engine
from iterdpo.errors import UserError


@pytest.mark.parametrize(
    ("asked", "vllm", "cuda", "name", "why"),
    [
        ("auto", True, True, "vllm", "installed and a CUDA device"),
        ("auto", True, False, "transformers", "no CUDA device"),
        ("auto", False, True, "transformers", r"vLLM is not installed.*iterdpo\[vllm\]"),
        ("auto", False, False, "transformers", "no CUDA device"),
        ("vllm", True, False, "vllm", "engine.backend=vllm"),
        ("transformers", True, True, "transformers", "engine.backend=transformers"),
    ],
)
def test_auto_takes_vllm_where_it_can_run_and_says_why(
    asked: Literal["auto", "vllm", "transformers"], vllm: bool, cuda: bool, name: str, why: str
) -> None:
    choice = choose_engine(asked, vllm=vllm, cuda=cuda, dtype="bfloat16")
    assert choice.name == name
    assert re.search(why, choice.why)


def test_single_precision_on_cuda_is_not_for_vllm() -> None:
    choice = choose_engine("auto", vllm=True, cuda=True, dtype="float32")
    assert (choice.name, "model.dtype=float32" in choice.why) == ("transformers", True)
    assert choose_engine("vllm", vllm=True, cuda=False, dtype="float32").name == "vllm"
    with pytest.raises(UserError, match=r"^model\.dtype=float32: on CUDA vLLM .* bfloat16"):
        choose_engine("vllm", vllm=True, cuda=True, dtype="float32")
