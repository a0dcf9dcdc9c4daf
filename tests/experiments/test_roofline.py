"""The GPU benchmark: its bounds against arithmetic written out, and all of it once, on the CPU."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import bench_gpu, random_checkpoint, roofline
from iterdpo.models.memory import ModelShape

LLAMA = ModelShape(4096, 32, 32, 8, 128, 14336, 128256, tied=False)
LAYERS = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
HEAD = 128256 * 4096
TINY = (
    "--device", "cpu", "--shape", "tiny", "--engine", "transformers", "--prompts", "4",
    "--candidates", "4", "--tokens", "8", "--prompt-tokens", "6", "--verdict-tokens", "4",
    "--pairs", "2", "--batch-size", "8", "--micro-batch", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def h200() -> roofline.Card:
    return roofline.CARDS["NVIDIA H200"]


def test_a_step_reads_everything_but_the_embedding() -> None:
    assert (LAYERS, HEAD) == (6_979_321_856, 525_336_576)
    norms = 65 * 4096
    assert roofline.streamed_bytes(LLAMA, 2) == 2 * (LAYERS + HEAD + norms) == 15_009_849_344
    tied = ModelShape(4096, 32, 32, 8, 128, 14336, 128256, tied=True)
    assert roofline.streamed_bytes(tied, 2) == 15_009_849_344
    assert roofline.cache_bytes(LLAMA, 2) == 2 * 32 * 8 * 128 * 2 == 131_072


def test_one_sequence_waits_for_the_memory(h200: roofline.Card) -> None:
    seconds = roofline.step_seconds(LLAMA, h200, 2, 1, 300)
    assert seconds == pytest.approx((15_009_849_344 + 300 * 131_072) / 4.8e12)
    assert 1 / seconds == pytest.approx(319, abs=1)  # tokens a second


def test_many_sequences_wait_for_their_cache_or_the_arithmetic(h200: roofline.Card) -> None:
    # 256 sequences of 300 tokens: 25.1 GB at 4.8 TB/s against 3.9 TFLOP at 989.5 TFLOP/s.
    moved = 15_009_849_344 + 256 * 300 * 131_072
    computed = 256 * (2 * LAYERS + 2 * HEAD + 4 * 32 * 4096 * 300)
    assert (moved, computed) == (25_076_178_944, 3_882_650_435_584)
    assert moved / 4.8e12 > computed / 989.5e12
    assert roofline.step_seconds(LLAMA, h200, 2, 256, 300) == pytest.approx(moved / 4.8e12)
    # With a context of one token there is next to no cache.
    alone = 512 * (2 * LAYERS + 2 * HEAD + 4 * 32 * 4096)
    assert roofline.step_seconds(LLAMA, h200, 2, 512, 1) == pytest.approx(alone / 989.5e12)


def test_attention_counts_the_tokens_that_each_token_sees() -> None:
    # 3 tokens see 1, 2 and 3 tokens; the last 2 of 5 see 4 and 5. Two products of 2 FLOPs each.
    one = 4 * 32 * 4096
    assert roofline.attention_flops(LLAMA, 3, 3) == one * (1 + 2 + 3)
    assert roofline.attention_flops(LLAMA, 2, 5) == one * (4 + 5)


def test_a_forward_pass_costs_two_a_parameter() -> None:
    assert roofline.forward_flops(LLAMA, 1, 1, 1) == 2 * (LAYERS + HEAD) + 4 * 32 * 4096
    assert roofline.forward_flops(LLAMA, 10, 10, 1) == pytest.approx(
        2 * (10 * LAYERS + HEAD) + 4 * 32 * 4096 * 55
    )


def test_prompts_that_the_cache_holds_cost_nothing(h200: roofline.Card) -> None:
    whole = roofline.Writing(rows=256, width=256, prompt=1000, written=1, read=256_000)
    half = roofline.Writing(rows=256, width=256, prompt=1000, written=1, read=128_000)
    one = 2 * (1000 * LAYERS + HEAD) + 4 * 32 * 4096 * 500_500
    seconds = roofline.reading_seconds(LLAMA, h200, 2, whole)
    assert seconds == pytest.approx(256 * one / 989.5e12)
    saved = seconds - roofline.reading_seconds(LLAMA, h200, 2, half)
    # The first 500 tokens: their layers and what they see.
    part = 2 * 500 * LAYERS + 4 * 32 * 4096 * 125_250
    assert saved == pytest.approx(256 * part / 989.5e12)


def test_answers_are_written_in_waves_and_the_first_token_takes_no_step(
    h200: roofline.Card,
) -> None:
    def step(sequences: Any, context: Any) -> Any:
        return roofline.step_seconds(LLAMA, h200, 2, sequences, context)

    work = roofline.Writing(rows=5, width=2, prompt=10, written=3, read=50)
    assert roofline.writing_seconds(LLAMA, h200, 2, work) == pytest.approx(
        roofline.reading_seconds(LLAMA, h200, 2, work)
        + 2 * (step(2, 11) + step(2, 12)) + step(1, 11) + step(1, 12)
    )  # fmt: skip
    only_read = roofline.Writing(rows=5, width=2, prompt=10, written=1, read=50)
    assert roofline.writing_seconds(LLAMA, h200, 2, only_read) == roofline.reading_seconds(
        LLAMA, h200, 2, only_read
    )
    with pytest.raises(ValueError, match="nothing is written"):
        roofline.Writing(rows=0, width=2, prompt=10, written=3, read=0)


def test_training_costs_six_a_parameter_or_four_where_the_weights_are_frozen() -> None:
    prompt, answer, tokens = 100, 400, 500
    attention = 4 * 32 * 4096 * (500 * 501 // 2)
    parameters = LAYERS * tokens + HEAD * answer
    reference = 2 * parameters + attention
    full = roofline.training_flops(LLAMA, prompt, answer, None)
    assert full == 6 * parameters + 3 * attention + reference
    # Adapters of rank 16: 41,943,040 parameters, at 6 in the policy and 2 in the reference.
    adapter = 32 * 16 * (8192 + 5120 + 5120 + 8192 + 3 * 18432) * tokens
    assert adapter == 41_943_040 * tokens
    lora = roofline.training_flops(LLAMA, prompt, answer, 16)
    assert lora == 4 * parameters + 3 * attention + 6 * adapter + reference + 2 * adapter
    again = roofline.training_flops(LLAMA, prompt, answer, 16, checkpointing=True)
    assert again - lora == 2 * LAYERS * tokens + attention + 2 * adapter


def test_training_seconds_count_every_sequence(h200: roofline.Card) -> None:
    one = roofline.training_flops(LLAMA, 64, 512, 16)
    assert roofline.training_seconds(LLAMA, h200, 96, 64, 512, 16) == pytest.approx(
        96 * one / 989.5e12
    )


def test_every_card_says_where_its_peaks_are_from() -> None:
    assert len(roofline.CARDS) >= 7
    for name, card in roofline.CARDS.items():
        assert name.startswith("NVIDIA ")
        assert 0.5e12 < card.bytes_per_second < 10e12
        assert 50e12 < card.flops_per_second < 2000e12
        assert "NVIDIA" in card.source
    assert "NVIDIA GH200 480GB" not in roofline.CARDS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_answer_of_a_random_checkpoint_ends_early(tmp_path: Path, dtype: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shape = ModelShape(96, 12, 3, 1, 32, 256, 600, tied=False)
    place = random_checkpoint.make_checkpoint(tmp_path, shape, dtype, "cpu")
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        place, dtype=getattr(torch, dtype), output_loading_info=True
    )
    model, told = loaded
    assert not any(told.values())
    assert model.num_parameters() == shape.parameters
    tokenizer = AutoTokenizer.from_pretrained(place)
    assert len(tokenizer) == shape.vocab
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    ids = torch.randint(shape.vocab, (8, 64), generator=torch.Generator().manual_seed(0))
    logits = model(ids).logits.float()
    assert logits[..., tokenizer.eos_token_id].max() < -100 < logits[..., 8:].min()
    text = tokenizer.decode(list(range(20, 60)))
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == list(range(20, 60))


def test_a_shape_without_an_output_layer_of_its_own_is_refused(tmp_path: Path) -> None:
    shape = ModelShape(96, 2, 3, 1, 32, 256, 600, tied=True)
    with pytest.raises(ValueError, match="output layer of its own"):
        random_checkpoint.make_checkpoint(tmp_path, shape, "float32", "cpu")


STAGES = [
    "weights are made", "checkpoint is hashed", "base is quantized, its image saved",
    "engine starts", "M0 writes", "M0 judges by one-token scores",
    "M0 judges by 3 verdicts with reasons", "M1 is trained", "M1 proves itself", "M1 writes",
]  # fmt: skip


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The whole benchmark at its smallest: (its result as JSON, the page it wrote)."""
    place = tmp_path_factory.mktemp("bench")
    page = place / "page.md"
    page.write_text("before\n<!-- bench-gpu: begin -->\nold\n<!-- bench-gpu: end -->\nafter\n")
    assert bench_gpu.main([*TINY, "--json", str(place / "all.json"), "--page", str(page)]) == 0
    return place / "all.json", page


def test_every_stage_is_run_and_reported(rehearsed: tuple[Path, Path]) -> None:
    file, page = rehearsed
    result = json.loads(file.read_text())
    assert [row["stage"] for row in result["rows"]] == STAGES
    rows = {row["stage"]: row for row in result["rows"]}
    # 4 prompts, 4 answers of 8 tokens; 3 verdicts of 4 tokens on each; 8 pairs in one step.
    assert rows["M0 writes"]["tokens"] == rows["M1 writes"]["tokens"] == 4 * 4 * 8
    assert rows["M0 judges by 3 verdicts with reasons"]["tokens"] == 16 * 3 * 4
    assert rows["M0 judges by one-token scores"]["tokens"] > 16 * 200  # the rubric
    assert rows["M1 is trained"]["note"].startswith("8 pairs; ")
    assert all(row["seconds"] > 0 and row["bound"] is None for row in result["rows"])
    text = page.read_text()
    assert text.startswith("before\n<!-- bench-gpu: begin -->\n")
    assert text.endswith("<!-- bench-gpu: end -->\nafter\n")
    assert "old" not in text
    assert "peaks of this card are not listed" in text
    assert len(re.findall(r"^\|", text, re.MULTILINE)) == 2 + len(STAGES)


def test_results_of_two_runs_come_onto_one_page(
    rehearsed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, page = rehearsed
    known = json.loads(file.read_text()) | {"source": "a datasheet", "card": "one NVIDIA H200"}
    known["rows"][4] |= {"seconds": 2.0, "tokens": 100, "bound": 0.5, "peak": 2**30}
    (tmp_path / "known.json").write_text(json.dumps(known))
    both = ["--from", str(file), str(tmp_path / "known.json"), "--page", str(page)]
    assert bench_gpu.main(both) == 0
    text = page.read_text()
    assert text.count("| stage | seconds |") == 2
    assert "| M0 writes | 2.0 | 50 | 1.0 | 200 | 25 % |" in text
    assert "published peaks (a datasheet)" in text
    (tmp_path / "page.md").write_text("no marks\n")
    assert bench_gpu.main(["--from", str(file), "--page", str(tmp_path / "page.md")]) == 0
    assert "no marked part" in capsys.readouterr().err
    assert (tmp_path / "page.md").read_text() == "no marks\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "cuda"], "no CUDA device is there"),
        ([*TINY, "--engine", "vllm"], "--engine vllm: vLLM is not installed"),
        (["--from", "nowhere.json"], "--from nowhere.json: not written by --json"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(bench_gpu, "vllm_installed", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert bench_gpu.main(arguments) == 2
    assert re.fullmatch(rf"bench-gpu: {re.escape(said)}[^\n]*\n", capsys.readouterr().err)
