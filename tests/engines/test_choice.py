from __future__ import annotations

import pytest

from iterdpo.engines.choice import choose_engine


@pytest.mark.parametrize(
    ("asked", "vllm", "cuda", "name", "why"),
    [
        ("auto", True, True, "vllm", "installed and a CUDA device"),
        ("auto", True, False, "transformers", "no CUDA device"),
        ("auto", False, True, "transformers", r"vLLM is not installed.*iterdpo\[vllm\]"),
        ("auto", False, False, "transformers", "no CUDA device"),
        ("vllm", True, False, "vllm", "engine.name=vllm"),
        ("transformers", True, True, "transformers", "engine.name=transformers"),
    ],
)
def test_auto_takes_vllm_where_it_can_run_and_says_why(asked, vllm, cuda, name, why):
    import re

    choice = choose_engine(asked, vllm=vllm, cuda=cuda)
    assert choice.name == name
    assert re.search(why, choice.why)
