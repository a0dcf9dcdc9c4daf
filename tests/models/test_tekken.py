"""Checkpoints of Mistral that bring its own form of the tokenizer beside that of transformers."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import pytest
from tokenizers import Regex, pre_tokenizers
from transformers import AutoTokenizer
from transformers.integrations.mistral import tokenizer as mistral
from transformers.models.auto import tokenization_auto

from iterdpo.errors import UserError
from iterdpo.models.checkpoint import find_checkpoint
from iterdpo.models.loading import load_tokenizer
from tests.checkpoints import CheckpointOf

SPECIALS = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")
TEXT = "12 animals."


@pytest.fixture
def checkpoint(checkpoint_of: CheckpointOf, tmp_path: Path) -> Path:
    """A checkpoint as Mistral Nemo's: its ``tokenizer.json`` splits texts as none of Mistral's."""
    place = Path(shutil.copytree(checkpoint_of("mistral"), tmp_path / "nemo"))
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("(?<=[a-m])"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.save_pretrained(place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"transformers_version": "4.42.0"}))
    vocabulary = [{"token_bytes": base64.b64encode(bytes([n])).decode()} for n in range(256)]
    tekken = {
        "config": {"pattern": r"\w+|\W", "default_num_special_tokens": len(SPECIALS)},
        "vocab": vocabulary,
        "special_tokens": [{"rank": n, "token_str": name} for n, name in enumerate(SPECIALS)],
    }
    (place / "tekken.json").write_text(json.dumps(tekken))
    return place


@pytest.fixture
def mistral_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers does where mistral-common is installed, as far as it can without it."""
    monkeypatch.setattr(mistral, "is_mistral_common_available", lambda: True)
    monkeypatch.setitem(
        tokenization_auto.TOKENIZER_MAPPING_NAMES, "mistral", "MistralCommonBackend"
    )


@pytest.mark.usefixtures("mistral_common")
def test_the_tokenizer_of_transformers_is_taken_though_mistral_common_is_installed(
    checkpoint: Path,
) -> None:
    with pytest.raises((ImportError, AttributeError, NameError)):  # what is not taken
        AutoTokenizer.from_pretrained(checkpoint)
    tokenizer = load_tokenizer(str(checkpoint))
    assert tokenizer.eos_token == "<end_of_turn>"
    assert tokenizer.chat_template


def test_texts_are_split_as_mistral_does(checkpoint: Path) -> None:
    # transformers looks at vocabularies of the families' sizes alone.
    spelled = json.loads((checkpoint / "tokenizer.json").read_text())
    spelled["model"]["vocab"] |= {f"unused {n}": n for n in range(300, 100_100)}
    (checkpoint / "tokenizer.json").write_text(json.dumps(spelled))
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"vocab_size": 100_100}))

    def pieces(place: Path) -> list[str]:
        backend = load_tokenizer(str(place)).backend_tokenizer
        return [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(TEXT)]

    assert pieces(checkpoint) == ["1", "2", "Ġanimals", "."]
    (checkpoint / "tekken.json").unlink()
    assert pieces(checkpoint) == ["12Ġa", "ni", "m", "a", "l", "s."]


def test_a_tokenizer_in_mistral_s_form_alone_is_refused_with_what_writes_the_other(
    checkpoint: Path,
) -> None:
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(UserError) as refused:
        find_checkpoint(str(checkpoint), None, "model.path")
    said = str(refused.value)
    assert said.startswith(f"model.path={checkpoint}: its tokenizer is in Mistral's own form alone")
    assert re.search(r"from_pretrained\('(.*)'\)\.save_pretrained\('\1', save_format='hf'\)", said)
    assert "\n" not in said
