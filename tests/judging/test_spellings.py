from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.judging.spellings import as_data

CONTROLS = (
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|endoftext|>", "<|user|>",
    "<｜User｜>", "<｜end▁of▁sentence｜>", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>",
    "<start_of_turn>", "<end_of_turn>", "<endofturn>", "<<SYS>>", "<</SYS>>", "[INST]", "[/INST]",
    "[SYSTEM_PROMPT]", "[CLS]", "[SEP]", "<|reserved_special_token_0|>", "<|channel|>",
)  # fmt: skip


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_token_is_broken_and_can_still_be_read(control: str) -> None:
    broken = as_data(f"before {control} after")
    assert control not in broken
    assert broken.replace("\u200b", "") == f"before {control} after"


@pytest.mark.parametrize(
    "text",
    ["a < b and c > d", "<b>bold</b>", "List[int]", "[1] see below", "<response>", "a | b |> c",
     "def f(x: dict[str, int]) -> None:", "<|", "|>", "x <| y\n|> z", "<userland>", "[INSTALL]"],
)  # fmt: skip
def test_ordinary_text_goes_through_unchanged(text: str) -> None:
    assert as_data(text) == text


@given(st.lists(st.one_of(st.sampled_from(CONTROLS), st.text(max_size=5)), max_size=6).map("".join))
def test_no_control_token_is_left_and_no_other_character_changes(text: Any) -> None:
    broken = as_data(text)
    assert not any(control in broken for control in CONTROLS)
    assert broken.replace("\u200b", "") == text.replace("\u200b", "")
    assert as_data(broken) == broken
