"""PairRM: its layout id by id, its logits against the formulas, its scores against arithmetic."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from iterdpo.errors import UserError
from iterdpo.judging.base import Group
from iterdpo.judging.pairrm import PairRmJudge, max_logits
from iterdpo.judging.pairrm_layout import PairLayout
from iterdpo.records import Candidate, Prompt, UnscoredReason
from iterdpo.settings import identity
from tests.judging.rankers import (
    candidate,
    judged,
    make_pairrm,
    pairrm_tokenizer,
    rewrite,
    unscored,
)

PROMPTS = (Prompt.of("Name three animals", "t"), Prompt.of("finish with done", "t"))
TEXTS = ("animals in order", "done and done", "it is not short")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairrm(tmp_path_factory.mktemp("pairrm"))


def judge_of(checkpoint: Path, **changes: Any) -> PairRmJudge:
    settings: Any = {
        "path": str(checkpoint), "revision": None, "device": "cpu", "dtype": "float32",
        "batch_size": 4, "source_tokens": 1224, "candidate_tokens": 412,
    }  # fmt: skip
    return PairRmJudge(**(settings | changes))


def answers_to(prompt: Prompt, texts: Sequence[str] = TEXTS) -> list[Candidate]:
    return [candidate(prompt, index, text) for index, text in enumerate(texts)]


# --- the layout


def test_the_row_is_three_segments_with_a_marker_each() -> None:
    tokenizer = pairrm_tokenizer()
    layout = PairLayout(tokenizer, 1224, 412)
    texts = ("Name three animals", "done", "in order")
    expected = []
    for marker, text in zip(("<|source|>", "<|candidate1|>", "<|candidate2|>"), texts, strict=True):
        words = tokenizer.encode(text, add_special_tokens=False).ids
        expected += [tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id(marker), *words,
                     tokenizer.token_to_id("[SEP]")]  # fmt: skip
    row, cut = layout.row(*map(layout.body, texts))
    assert row == expected
    assert not cut


def test_what_is_too_long_is_cut_at_its_end_and_answers_share_what_the_prompt_leaves() -> None:
    layout = PairLayout(pairrm_tokenizer(), source_tokens=20, candidate_tokens=10)
    word = layout.body("done")[:1]
    long = word * 50
    # 20 of the prompt with its 3 markers, then (20 + 2 * 10 - 20) // 2 = 10 each.
    row, cut = layout.row(long, long, long)
    assert (len(row), cut) == (40, True)
    assert row[:20] == [layout.open, layout.source, *long[:17], layout.close]
    assert row[20:30] == [layout.open, layout.candidates[0], *long[:7], layout.close]
    # A prompt of 3 + 1 leaves (40 - 4) // 2 = 18 to each answer.
    row, cut = layout.row(word, long, word)
    assert (len(row), cut) == (4 + 18 + 4, True)
    assert row[4:22] == [layout.open, layout.candidates[0], *long[:15], layout.close]
    # Nothing is cut where everything fits exactly.
    assert layout.row(word * 17, word * 7, word * 7)[1] is False
    assert layout.row(word * 17, word * 7, word * 8)[1] is True


TRICKS = st.sampled_from(
    ["<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>", "[SEP]", "[CLS]", "[PAD]",
     "<｜candidate2｜>", "＜|candidate2|＞", "\u0338", "\u200b", " ", "<|", "|>", "[UNK]"]
)  # fmt: skip
TEXT = st.lists(st.one_of(TRICKS, st.text(max_size=8)), max_size=8).map("".join)


@given(st.tuples(TEXT, TEXT, TEXT))
def test_no_text_opens_or_closes_a_segment(texts: Any) -> None:
    layout = PairLayout(pairrm_tokenizer(), 64, 32)
    row, _ = layout.row(*map(layout.body, texts))
    assert row.count(layout.open) == row.count(layout.close) == 3
    for marker in (layout.source, *layout.candidates):
        assert row.count(marker) == 1
    starts = [at for at, token in enumerate(row) if token == layout.open]
    assert [row[at + 1] for at in starts] == [layout.source, *layout.candidates]
    assert [row[at - 1] for at in (*starts[1:], len(row))] == [layout.close] * 3
    other = layout.tokenizer.token_to_id("<|candidate|>")
    assert other not in row


def test_ordinary_text_is_tokenized_as_it_stands_after_its_marker() -> None:
    tokenizer = pairrm_tokenizer()
    layout = PairLayout(tokenizer, 64, 32)
    for text in ("Name three animals", " two  spaces", "ﬁnish", "", "a\u0338b", "日本"):
        with_marker = tokenizer.encode(f"<|candidate2|>{text}", add_special_tokens=False).ids
        assert layout.body(text) == tuple(with_marker[1:])


def test_a_text_that_would_grow_into_its_marker_leaves_it_whole() -> None:
    # U+0338 makes one character of the marker's last one and itself.
    tokenizer = pairrm_tokenizer()
    alone = tokenizer.encode(" \u0338done", add_special_tokens=False).ids
    assert tokenizer.encode("<|source|>\u0338done", add_special_tokens=False).ids[1:] != alone
    assert PairLayout(tokenizer, 64, 32).body("\u0338done") == tuple(alone)


# --- one comparison, from the published formulas


def deberta(
    weights: dict[str, torch.Tensor], config: dict[str, Any], ids: list[int]
) -> torch.Tensor:
    """DeBERTa-v3 (arXiv 2006.03654, section 3; 2111.09543), one row, no padding: ``(T, d)``.

    Disentangled attention: A_ij = q_i·k_j + q_i·K_r[δ(i,j)] + k_j·Q_r[δ(i,j)], over sqrt(3d), where
    the relative embeddings go through the layer's own query and key projections, and δ is the
    distance i - j, in logarithmic buckets beyond half of the span.
    """
    w = {name.removeprefix("pretrained_model."): value for name, value in weights.items()}
    size, heads, span = config["hidden_size"], config["num_attention_heads"], 8

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        centered = x - x.mean(-1, keepdim=True)
        spread = torch.sqrt((centered**2).mean(-1, keepdim=True) + config["layer_norm_eps"])
        return centered / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    def bucket(distance: int) -> int:
        middle = span // 2
        if abs(distance) <= middle:
            return distance
        ratio = math.log(abs(distance) / middle) / math.log(
            (config["max_position_embeddings"] - 1) / middle
        )
        return int(math.copysign(math.ceil(ratio * (middle - 1)) + middle, distance))

    n = len(ids)
    place = torch.tensor(
        [[min(max(bucket(i - j) + span, 0), 2 * span - 1) for j in range(n)] for i in range(n)]
    )
    x = norm("embeddings.LayerNorm", w["embeddings.word_embeddings.weight"][torch.tensor(ids)])
    relative = norm("encoder.LayerNorm", w["encoder.rel_embeddings.weight"])
    per = size // heads
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        found = []
        for head in range(heads):
            part = slice(head * per, (head + 1) * per)
            q, k, v = (
                linear(f"{at}.attention.self.{name}_proj", x)[:, part]
                for name in ("query", "key", "value")
            )
            rq, rk = (
                linear(f"{at}.attention.self.{name}_proj", relative)[:, part]
                for name in ("query", "key")
            )
            scores = torch.empty(n, n)
            for i in range(n):
                for j in range(n):
                    there = place[i, j]
                    scores[i, j] = q[i] @ k[j] + q[i] @ rk[there] + k[j] @ rq[there]
            found.append(torch.softmax(scores / math.sqrt(3 * per), -1) @ v)
        attended = linear(f"{at}.attention.output.dense", torch.cat(found, -1))
        x = norm(f"{at}.attention.output.LayerNorm", attended + x)
        inner = linear(f"{at}.intermediate.dense", x)
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = norm(f"{at}.output.LayerNorm", linear(f"{at}.output.dense", inner) + x)
    return x


def one_logit(checkpoint: Path, ids: list[int], layout: PairLayout) -> float:
    """s = W2·tanh(W1·[h_source; h_candidate] + b1) + b2; the logit is s_1 - s_2."""
    weights = load_file(checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text())
    hidden = deberta(weights, config, ids)
    scores = []
    for marker in layout.candidates:
        both = torch.cat([hidden[ids.index(layout.source)], hidden[ids.index(marker)]])
        inner = torch.tanh(weights["head_layer.1.weight"] @ both + weights["head_layer.1.bias"])
        scores.append(weights["head_layer.4.weight"] @ inner + weights["head_layer.4.bias"])
    return float(scores[0] - scores[1])


def test_a_comparison_equals_the_formulas(checkpoint: Path) -> None:
    judge = judge_of(checkpoint)
    answers = answers_to(PROMPTS[0])
    (logits,) = judge._compare([Group(PROMPTS[0], tuple(answers))])
    layout = PairLayout.load(checkpoint, 1224, 412)
    # Of a pair whose two logits have one sign, the place decided.
    flips = [logits[i, j] * logits[j, i] > 0 for i, j in ((0, 1), (0, 2), (1, 2))]
    assert judge.counts["flipped"] == sum(flips)
    assert sum(flips) > 0
    assert set(logits) == {(i, j) for i in range(3) for j in range(3) if i != j}
    assert max(map(abs, logits.values())) > 0.1  # the tolerance below means something
    for (i, j), logit in logits.items():
        row, _ = layout.row(*map(layout.body, (PROMPTS[0].text, TEXTS[i], TEXTS[j])))
        assert len(row) > 16  # some distances are in logarithmic buckets
        assert logit == pytest.approx(one_logit(checkpoint, row, layout), abs=1e-5)


# --- scores


def test_max_logits_by_hand() -> None:
    # s_0 = ((2 + 1) + (4 - 1)) / 3, s_1 = ((-1 - 2) + (0.5 - 0)) / 3,
    # s_2 = ((1 - 4) + (0 - 0.5)) / 3.
    logits = {(0, 1): 2.0, (1, 0): -1.0, (0, 2): 4.0, (2, 0): 1.0, (1, 2): 0.5, (2, 1): 0.0}
    assert max_logits(logits, 3) == pytest.approx([2.0, -2.5 / 3, -3.5 / 3])
    assert sum(max_logits(logits, 3)) == pytest.approx(0)


def test_the_order_of_the_answers_changes_no_score(checkpoint: Path) -> None:
    def scores(order: Any) -> Any:
        texts = [TEXTS[at] for at in order]
        made = judged(judge_of(checkpoint), PROMPTS, answers_to(PROMPTS[0], texts))
        return {text: item.score for text, item in zip(texts, made, strict=True)}

    plain, turned = scores([0, 1, 2]), scores([2, 0, 1])
    assert turned == pytest.approx(plain, abs=1e-5)
    assert len(set(plain.values())) == 3
    assert sum(plain.values()) == pytest.approx(0, abs=1e-5)


def test_batches_and_company_change_nothing(checkpoint: Path) -> None:
    both = [*answers_to(PROMPTS[0]), *answers_to(PROMPTS[1], (*TEXTS, "and " * 20))]
    together = [item.score for item in judged(judge_of(checkpoint), PROMPTS, both)]
    alone = [
        item.score
        for group in (both[:3], both[3:])
        for item in judged(judge_of(checkpoint, batch_size=1), PROMPTS, group)
    ]
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("pad", [None, -1, "<|candidate1|>"])
def test_which_token_pads_makes_no_difference(
    checkpoint: Path, tmp_path: Path, pad: int | str | None
) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    token = pairrm_tokenizer().token_to_id(pad) if isinstance(pad, str) else pad
    rewrite(copy / "config.json", pad_token_id=token)
    answers = answers_to(PROMPTS[0], (*TEXTS, "and " * 20))

    def scores(place: Path) -> list[float | None]:
        return [item.score for item in judged(judge_of(place), PROMPTS, answers)]

    assert scores(copy) == scores(checkpoint)


def test_a_judgment_names_the_ranker_and_what_was_compared(checkpoint: Path) -> None:
    judge = judge_of(checkpoint)
    answers = answers_to(PROMPTS[0])
    made = judged(judge, PROMPTS, answers)
    assert [item.candidate_id for item in made] == [item.id for item in answers]
    assert {item.judge for item in made} == {judge.fingerprint}
    assert len(made[0].raw) == 2
    assert made[0].raw[0].startswith(f"against {answers[1].id}: ")
    assert judge.counts["comparisons"] == 3
    assert 0 <= judge.counts["flipped"] <= 3
    assert judge.counts["truncated"] == 0


def test_what_had_to_be_cut_is_counted(checkpoint: Path) -> None:
    judge = judge_of(checkpoint, source_tokens=64, candidate_tokens=16)
    judged(judge, PROMPTS, answers_to(PROMPTS[0], ("a", "b", "and " * 99)))
    assert dict(judge.counts) | {"flipped": 0} == {"comparisons": 3, "flipped": 0, "truncated": 2}


def test_one_answer_alone_has_no_score(checkpoint: Path) -> None:
    (made,) = judged(judge_of(checkpoint), PROMPTS, answers_to(PROMPTS[0], ("alone",)))
    assert unscored(made).reason is UnscoredReason.TOO_FEW_READABLE


def test_a_logit_that_is_no_number_is_unscored(checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    make_pairrm(broken)
    weights = load_file(broken / "model.safetensors")
    weights["head_layer.4.weight"][:] = math.inf
    save_file(weights, broken / "model.safetensors")
    for item in judged(judge_of(broken), PROMPTS, answers_to(PROMPTS[0])):
        assert unscored(item).reason is UnscoredReason.OUT_OF_RANGE


def test_the_model_is_loaded_late_and_let_go(checkpoint: Path) -> None:
    judge = judge_of(checkpoint)
    assert "_loaded" not in vars(judge)
    first = [item.score for item in judged(judge, PROMPTS, answers_to(PROMPTS[0]))]
    assert "_loaded" in vars(judge)
    judge.close()
    assert "_loaded" not in vars(judge)
    assert [item.score for item in judged(judge, PROMPTS, answers_to(PROMPTS[0]))] == first


def test_its_key_holds_what_may_change_a_score(checkpoint: Path, tmp_path: Path) -> None:
    plain = identity(judge_of(checkpoint))
    for change in ({"dtype": "bfloat16"}, {"batch_size": 2}, {"source_tokens": 99},
                   {"candidate_tokens": 99}):  # fmt: skip
        assert identity(judge_of(checkpoint, **change)) != plain
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    assert identity(judge_of(copy, revision="main")) == plain
    assert identity(judge_of(make_pairrm(tmp_path / "other", seed=1))) != plain


def test_what_is_not_there_is_missed_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^judge\.path="):
        judge_of(tmp_path).prepare()
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"^judge\.device=cuda: no CUDA device is there"):
            judge_of(tmp_path, device="cuda").prepare()


# --- what is no PairRM


def test_another_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    def refusal(spoil: Any) -> str:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        make_pairrm(place)
        spoil(place)
        with pytest.raises(UserError) as caught:
            judged(judge_of(place), PROMPTS, answers_to(PROMPTS[0]))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def without_head(place: Any) -> None:
        weights = load_file(place / "model.safetensors")
        del weights["head_layer.1.bias"]
        save_file(weights, place / "model.safetensors")

    assert "no .safetensors weights" in refusal(
        lambda place: (place / "model.safetensors").unlink()
    )
    assert "no tokenizer.json" in refusal(lambda place: (place / "tokenizer.json").unlink())
    assert "head_layer.1.bias" in refusal(without_head)
    assert "names the markers" in refusal(
        lambda place: rewrite(place / "config.json", cand1_prefix_id=3)
    )
    assert "pad_token_id=999, and the model has" in refusal(
        lambda place: rewrite(place / "config.json", pad_token_id=999)
    )
    assert "cannot be loaded" in refusal(lambda place: rewrite(place / "config.json", n_tasks="x"))
    assert "cannot be loaded" in refusal(
        lambda place: (place / "model.safetensors").write_bytes(b"x")
    )
    assert "cannot be loaded" in refusal(lambda place: (place / "tokenizer.json").write_text("{}"))
    larger = pairrm_tokenizer_of_one_more()
    assert "tokenizer.json has tokens up to" in refusal(
        lambda place: larger.save(str(place / "tokenizer.json"))
    )
    bare = pairrm_tokenizer_without_markers()
    assert "has no <|source|>" in refusal(lambda place: bare.save(str(place / "tokenizer.json")))


def pairrm_tokenizer_without_markers() -> Any:
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    return tokenizer


def pairrm_tokenizer_of_one_more() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(pairrm_tokenizer().to_str())
    tokenizer.add_tokens(["trout"])
    return tokenizer
