"""Tiny random rankers and reward models, and the records that judges are given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.judging.asking import groups_of
from iterdpo.judging.base import Judge
from iterdpo.judging.self_judge import SelfJudge
from iterdpo.records import (
    Base,
    Candidate,
    FinishReason,
    Judgment,
    Policy,
    Prompt,
    Unscored,
    record_id,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

POLICY = Policy("M0", Base("p", "s", "none", "float32", "p"))
MARKERS = {"source": "<|source|>", "first": "<|candidate1|>", "second": "<|candidate2|>"}
CORPUS = (
    "Name three animals in alphabetical order and finish with done.",
    "The answer is relevant, complete and clear. It is not short, and it is not long.",
    "0 1 2 3 4 5 6 7 8 9 < > | [ ] / ( ) candidate source SEP CLS",
)


def candidate(prompt: Prompt, index: int, text: str) -> Candidate:
    name = record_id("candidate", (prompt.id,), index, text)
    return Candidate(name, prompt.id, index, text, (), (), (), FinishReason.STOP, "writer", 0)


def judged(
    judge: Judge, prompts: Sequence[Prompt], candidates: Sequence[Candidate]
) -> list[Judgment]:
    """Return the judgments of a judge that is asked as the stage asks it."""
    return list(judge.judge(groups_of(prompts, candidates, judge), POLICY))


def unscored(item: Judgment) -> Unscored:
    """Return a verdict that is no score."""
    assert isinstance(item.verdict, Unscored)
    return item.verdict


def self_judge(engine: Any, score: str, seed: int = 0, **changes: Any) -> SelfJudge:
    """Return a policy as its own judge, by the additive rubric where no other is named."""
    settings: Any = {
        "model": "current", "rubric": "additive", "score": score, "samples": 3, "temperature": 0.7,
        "top_p": 0.9, "max_tokens": 512, "min_readable": 0.5, "min_mass": 0.5, "low": 0, "high": 5,
        "system": None,
    }  # fmt: skip
    return SelfJudge(engine=engine, seed=seed, **(settings | changes))


def make_pairrm(directory: Path, seed: int = 0) -> Path:
    """Write a PairRM of two layers whose logits are of the order of 1, and return its directory."""
    import torch
    from safetensors.torch import save_file
    from transformers import DebertaV2Config

    from iterdpo.judging.pairrm_model import PairRM

    tokenizer = pairrm_tokenizer()
    directory.mkdir(exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    kind: Any = DebertaV2Config  # whose fields no type checker knows
    config = kind(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        pad_token_id=tokenizer.token_to_id("[PAD]"),
        architectures=["DebertaV2PairRM"],
        n_tasks=1,
        drop_out=0.05,
        source_prefix_id=tokenizer.token_to_id("<|source|>"),
        cand_prefix_id=tokenizer.token_to_id("<|candidate|>"),
        cand1_prefix_id=tokenizer.token_to_id("<|candidate1|>"),
        cand2_prefix_id=tokenizer.token_to_id("<|candidate2|>"),
    )
    config.save_pretrained(directory)
    torch.manual_seed(seed)
    model = PairRM(config)
    for name, weight in model.named_parameters():
        scales = name.endswith("LayerNorm.weight")
        torch.nn.init.normal_(weight, mean=1.0 if scales else 0.0, std=0.3)
    save_file(model.state_dict(), directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@cache
def pairrm_tokenizer() -> Tokenizer:
    """Return a tokenizer that normalizes and marks words as DeBERTa-v3's does."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    # Not trained: a trainer's scores are others in every process. Words are likelier than letters.
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    words = sorted({f"▁{word.lower()}" for word in " ".join(CORPUS).split() if word.isalpha()})
    letters = sorted({"▁", *"".join(CORPUS)} - {" "})
    scores = [(name, 0.0) for name in specials] + [(name, -4.0) for name in words]
    tokenizer = Tokenizer(models.Unigram([*scores, *((name, -5.0) for name in letters)], unk_id=3))
    tokenizer.add_special_tokens(specials)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    # As in the published file: added, matched after normalization, not special.
    names = ["<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"]
    tokenizer.add_tokens([AddedToken(name, normalized=True, special=False) for name in names])
    return tokenizer


def make_reward_model(
    directory: Path, style: str, *, labels: int = 1, pad: str | None = None, context: int = 256
) -> Path:
    """Write a tiny random reward model in a style of ``tests.checkpoints``."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from tests.checkpoints import STYLES, make_tokenizer

    tokenizer = make_tokenizer(STYLES[style])
    config = AutoConfig.for_model(
        STYLES[style].family,
        vocab_size=len(tokenizer) + 3,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=context,
        num_labels=labels,
        pad_token_id=None if pad is None else tokenizer.convert_tokens_to_ids(pad),
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    torch.nn.init.normal_(model.score.weight, std=1.0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_encoder(directory: Path) -> Path:
    """Write a tiny reward model that reads a pair of texts and has no chat template."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    inner = Tokenizer.from_str(pairrm_tokenizer().to_str())
    inner.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, inner.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=64,
    )
    torch.manual_seed(0)
    kind: Any = BertConfig
    config = kind(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=80,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
    )
    BertForSequenceClassification(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def rewrite(file: Path, **changes: object) -> None:
    """Change some of a JSON file's values."""
    values = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(values | changes), "utf-8")
