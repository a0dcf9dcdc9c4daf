"""Reward models: what they read, what batches change (nothing), and what is no reward model."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.errors import UserError
from iterdpo.judging.base import Judge
from iterdpo.judging.reward_model import RewardModelJudge
from iterdpo.models.chat_template import Chat
from iterdpo.records import Candidate, Prompt, Scored, UnscoredReason
from iterdpo.settings import identity
from tests.checkpoints import CheckpointOf
from tests.judging.rankers import (
    candidate,
    judged,
    make_encoder,
    make_reward_model,
    rewrite,
    unscored,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROMPT = Prompt.of("Name three animals", "t")
TEXTS = ("animals in order", "done", "It is clear and it is complete.", "")
ANSWERS = [candidate(PROMPT, index, text) for index, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function from a style and what is special of it to a checkpoint."""
    found: dict[tuple[Any, ...], Path] = {}

    def get(style: str, **special: Any) -> Path:
        name = (style, *sorted(special.items()))
        if name not in found:
            place = tmp_path_factory.mktemp(style)
            if style == "encoder":
                found[name] = make_encoder(place)
            else:
                found[name] = make_reward_model(place, style, **special)
        return found[name]

    return get


def judge_of(checkpoint: Path, **changes: Any) -> RewardModelJudge:
    settings: Any = {
        "path": str(checkpoint), "revision": None, "device": "cpu", "dtype": "float32",
        "batch_size": 3, "context": None, "chat_template": None,
    }  # fmt: skip
    return RewardModelJudge(**(settings | changes))


def scores(judge: Judge, answers: Sequence[Candidate] = ANSWERS) -> list[float | None]:
    return [item.score for item in judged(judge, (PROMPT,), answers)]


@pytest.mark.parametrize(
    ("style", "pad"),
    [("qwen", None), ("qwen", "<|im_end|>"), ("mistral", None), ("mistral", "<end_of_turn>")],
)
def test_a_batch_says_what_the_published_snippet_says_of_one_conversation(
    style: str, pad: str | None, made: Callable[..., Path]
) -> None:
    # The snippet of model cards: the template's ids through the model, one conversation at a time.
    # Where the padding token is the one that ends a turn, the model pools before it, here too.
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    checkpoint = made(style, pad=pad)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    expected = []
    for text in TEXTS:
        turns = [{"role": "user", "content": PROMPT.text}, {"role": "assistant", "content": text}]
        written: Any = tokenizer.apply_chat_template(turns, tokenize=True, return_tensors="pt")
        with torch.no_grad():
            expected.append(model(written["input_ids"]).logits[0, 0].item())
    assert max(expected) - min(expected) > 0.1
    assert scores(judge_of(checkpoint)) == pytest.approx(expected, abs=1e-5)
    assert scores(judge_of(checkpoint, batch_size=1)) == pytest.approx(expected, abs=1e-5)


def test_an_encoder_without_a_template_reads_a_pair(made: Callable[..., Path]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    checkpoint = made("encoder")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    expected = []
    for text in TEXTS:
        inputs = tokenizer(PROMPT.text, text, return_tensors="pt", return_token_type_ids=True)
        # An empty second text is none to the tokenizer.
        assert set(inputs["token_type_ids"][0].tolist()) == ({0, 1} if text else {0})
        with torch.no_grad():
            expected.append(model(**inputs).logits[0, 0].item())
    assert len({round(value, 3) for value in expected}) == len(TEXTS)
    assert scores(judge_of(checkpoint)) == pytest.approx(expected, abs=1e-5)


def test_a_judgment_names_the_model(made: Callable[..., Path]) -> None:
    judge = judge_of(made("qwen"))
    found = judged(judge, (PROMPT,), ANSWERS)
    assert [item.candidate_id for item in found] == [item.id for item in ANSWERS]
    assert {item.judge for item in found} == {judge.fingerprint}
    assert identity(judge)["name"] == "reward_model"
    assert len({item.id for item in found}) == len(ANSWERS)


def test_what_does_not_fit_is_unscored_and_the_rest_is_not_touched(
    made: Callable[..., Path],
) -> None:
    judge = judge_of(made("qwen", context=64))
    answers = [ANSWERS[0], candidate(PROMPT, 9, "clear " * 200), ANSWERS[1]]
    first, long, last = judged(judge, (PROMPT,), answers)
    assert unscored(long).reason is UnscoredReason.PROMPT_TOO_LONG
    assert unscored(long).raw.endswith("tokens, at most 64")
    assert [first.score, last.score] == pytest.approx(scores(judge)[:2], abs=1e-5)
    # The tokenizer's own limit counts as well: the encoder holds 80 places, it says 64.
    (long,) = judged(judge_of(made("encoder")), (PROMPT,), [answers[1]])
    assert unscored(long).raw.endswith("tokens, at most 64")
    (long,) = judged(judge_of(made("qwen"), context=9), (PROMPT,), ANSWERS[:1])
    assert unscored(long).raw.endswith("tokens, at most 9")


def test_a_reward_that_is_no_number_is_unscored(made: Callable[..., Path]) -> None:
    judge = judge_of(made("qwen"))
    model, _ = judge._loaded
    with torch.no_grad():
        model.score.weight[:] = math.inf
    assert {unscored(item).reason for item in judged(judge, (PROMPT,), ANSWERS)} == {
        UnscoredReason.OUT_OF_RANGE
    }


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\n"]),
            st.text(max_size=6),
        ),
        max_size=6,
    ).map("".join)
)
def test_no_answer_opens_a_turn(text: Any) -> None:
    tokenizer = qwen_tokenizer()
    judge = judge_of(Path("nowhere"))
    plain = judge._encode(Chat(tokenizer), Prompt.of("x", "t"), "plain").ids
    tricky = judge._encode(Chat(tokenizer), Prompt.of("x", "t"), text).ids
    specials = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    assert [token for token in tricky if token in specials] == [
        token for token in plain if token in specials
    ]


@cache
def qwen_tokenizer() -> PreTrainedTokenizerFast:
    from tests.checkpoints import STYLES, make_tokenizer

    return make_tokenizer(STYLES["qwen"])


def test_the_model_is_loaded_late_and_let_go(made: Callable[..., Path]) -> None:
    judge = judge_of(made("qwen"))
    assert "_loaded" not in vars(judge)
    first = scores(judge)
    judge.close()
    assert "_loaded" not in vars(judge)
    assert scores(judge) == first


def test_a_template_of_one_s_own_is_used_and_in_the_key(
    made: Callable[..., Path], tmp_path: Path
) -> None:
    plain = judge_of(made("qwen"))
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }} {% endfor %}")
    own = judge_of(made("qwen"), chat_template=template)
    assert identity(own) != identity(plain)
    copy = shutil.copy(template, tmp_path / "copy.jinja")
    assert identity(judge_of(made("qwen"), chat_template=Path(copy))) == identity(own)
    marked = tmp_path / "marked.jinja"
    marked.write_text(template.read_text(), "utf-8-sig")
    assert identity(judge_of(made("qwen"), chat_template=marked)) == identity(own)
    missing = tmp_path / "missing.jinja"
    with pytest.raises(UserError, match=r"^judge\.chat_template=.*: cannot be read"):
        judge_of(made("qwen"), chat_template=missing).prepare()
    assert scores(own) != scores(plain)
    assert isinstance(judged(own, (PROMPT,), ANSWERS[:1])[0].verdict, Scored)


def test_what_is_no_reward_model_is_one_line(
    made: Callable[..., Path], tmp_path: Path, checkpoint_of: CheckpointOf
) -> None:
    def refusal(checkpoint: Any, **changes: Any) -> str:
        with pytest.raises(UserError) as caught:
            scores(judge_of(checkpoint, **changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "it has 2 labels" in refusal(made("qwen", labels=2))
    assert "no chat template" in refusal(made("base"))
    # A causal model has no head: transformers would make one up.
    causal = tmp_path / "causal"
    shutil.copytree(checkpoint_of("qwen"), causal)
    rewrite(causal / "config.json", num_labels=1, id2label={"0": "reward"})
    assert "its weights lack score.weight" in refusal(causal)
    damaged = Path(shutil.copytree(made("qwen"), tmp_path / "damaged"))
    (damaged / "model.safetensors").write_bytes(b"damaged")
    assert "the model cannot be loaded" in refusal(damaged)
    rewrite(damaged / "config.json", hidden_size=-1)
    assert "its config.json has hidden_size=-1" in refusal(damaged)
    fails = tmp_path / "fails.jinja"
    fails.write_text("{{ raise_exception('no such role') }}")
    assert "no such role" in refusal(made("qwen"), chat_template=fails)
