"""The exact call of the lm-evaluation-harness, the table, and a tiny task where it is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.records import Adapter, Base, Policy
from iterdpo.tools.benchmark import harness
from iterdpo.tools.benchmark.__main__ import main
from iterdpo.tools.benchmark.harness import (
    HarnessSettings,
    call_arguments,
    metrics_of,
    model_arguments,
    table_rows,
    tasks_of,
)

BASE = Base("/checkpoint", "s", "nf4", "bfloat16", "/store/base/1/dequantized")
SETTINGS = HarnessSettings(tasks=("gsm8k", "ifeval"), dtype="bfloat16", device="cuda", seed=7)
INSTALLED = importlib.util.find_spec("lm_eval") is not None


def test_an_adapter_goes_beside_the_image_that_was_served() -> None:
    policy = Policy("M1", BASE, Adapter("/store/adapter/2/adapter", "h"))
    assert model_arguments(policy, SETTINGS) == {
        "pretrained": "/store/base/1/dequantized",
        "tokenizer": "/checkpoint",
        "peft": "/store/adapter/2/adapter",
        "dtype": "bfloat16",
        "trust_remote_code": False,
    }


def test_m0_has_no_adapter_and_the_original_is_the_checkpoint() -> None:
    original = HarnessSettings(tasks=("x",), dtype="float32", device="cpu", serve="original")
    arguments = model_arguments(Policy("M0", BASE), original)
    assert "peft" not in arguments
    assert arguments["pretrained"] == "/checkpoint"


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_packed_base_is_refused_with_the_way_around_it(method: str) -> None:
    packed = Policy("M0", Base("/checkpoint", "s", method, "bfloat16", "/checkpoint"))
    with pytest.raises(UserError, match=rf"model\.quantization={method}: the harness loads models"):
        model_arguments(packed, SETTINGS)


def test_the_whole_call() -> None:
    call = call_arguments(Policy("M0", BASE), SETTINGS)
    del call["model_args"]
    assert call == {
        "model": "hf", "tasks": ["gsm8k", "ifeval"], "num_fewshot": None, "batch_size": "auto",
        "device": "cuda", "limit": None, "apply_chat_template": False, "log_samples": False,
        "random_seed": 7, "numpy_random_seed": 7, "torch_random_seed": 7,
        "fewshot_random_seed": 7,
    }  # fmt: skip


def test_metrics_are_read_by_their_filter() -> None:
    results: dict[str, dict[str, Any]] = {
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.5,
            "exact_match_stderr,strict-match": 0.1,
            "exact_match,flexible-extract": 0.75,
            "exact_match_stderr,flexible-extract": "N/A",
            "sample_len": 4,
        },
        "arc": {"acc,none": 0.25, "acc_stderr,none": 0.05},
    }
    assert metrics_of(results) == {
        "gsm8k exact_match (strict-match)": (0.5, 0.1),
        "gsm8k exact_match (flexible-extract)": (0.75, None),
        "arc acc": (0.25, 0.05),
    }


def test_a_row_a_model() -> None:
    header, rows = table_rows({"M0": {"a": (0.5, 0.125)}, "M1": {"a": (0.75, None), "b": (1e7, 2)}})
    assert header == ["model", "a", "b"]
    assert rows == [["M0", "0.5000 ± 0.1250", "–"], ["M1", "0.7500", "1e+07 ± 2.0000"]]


def test_tasks_with_commas_and_spaces() -> None:
    assert tasks_of(["a,b", "c", "a"]) == ("a", "b", "c")


def test_the_evaluation_stops_where_the_harness_is_missing(
    monkeypatch: pytest.MonkeyPatch, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["lm_eval", str(finished_run), "--tasks", "x"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "iterdpo.benchmark: lm-evaluation-harness is not installed; "
        "pip install 'iterdpo[benchmarks]'\n"
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--batch-size", "many"], "--batch-size=many"),
        (["--limit", "0"], "--limit=0.0"),
        (["--include-path", "nowhere"], "no such directory"),
        (["--models", "M9"], "no model M9"),
    ],
)
def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    finished_run: Path,
    capsys: pytest.CaptureFixture[str],
    option: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(harness, "require_harness", lambda: None)
    assert main(["lm_eval", str(finished_run), "--tasks", "x", *option]) == 2
    assert said in capsys.readouterr().err


def test_results_of_each_model_are_kept_and_shown(
    monkeypatch: pytest.MonkeyPatch,
    finished_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def evaluated(policy: Any, settings: Any) -> Any:
        assert settings.dtype == "float32"
        value = {"M0": 0.25, "M2": 0.5}[policy.name]
        return {"results": {"x": {"acc,none": value, "acc_stderr,none": 0.125}}}

    monkeypatch.setattr(harness, "require_harness", lambda: None)
    monkeypatch.setattr(harness, "evaluate", evaluated)
    target = tmp_path / "r.json"
    arguments = ["lm_eval", str(finished_run), "--tasks", "x", "--models", "M0", "M2",
                 "--out", str(target)]  # fmt: skip
    assert main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown[:3]] == [
        ["model", "x", "acc"], ["M0", "0.2500", "±", "0.1250"], ["M2", "0.5000", "±", "0.1250"]
    ]  # fmt: skip
    read = json.loads(target.read_text())
    assert read["models"]["M2"]["results"]["x"]["acc,none"] == 0.5
    assert read["settings"]["tasks"] == ["x"]


@pytest.mark.skipif(not INSTALLED, reason="lm-eval is an extra: pip install 'iterdpo[benchmarks]'")
def test_a_tiny_task_of_ones_own(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"q": f"{n} 1", "choices": [" 2", " 3"], "gold": n % 2} for n in range(4)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "t.yaml").write_text(
        "task: tiny\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 't.jsonl'}}}}}\n"
        "output_type: multiple_choice\ntest_split: test\ndoc_to_text: '{{q}}'\n"
        "doc_to_choice: '{{choices}}'\ndoc_to_target: '{{gold}}'\n"
        "metric_list: [{metric: acc}]\n"
    )
    status = main(["lm_eval", str(finished_run), "--tasks", "tiny", "--include-path",
                   str(tmp_path), "--models", "M0", "M1", "--out", str(tmp_path / "r.json"),
                   "--device", "cpu", "--batch-size", "2"])  # fmt: skip
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert captured.out.splitlines()[0].split() == ["model", "tiny", "acc"]
    assert main(["lm_eval", str(finished_run), "--tasks", "nosuch"]) == 2
    assert "has no such task" in capsys.readouterr().err


def test_answers_from_end_to_end(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "q.jsonl"
    questions.write_text(json.dumps({"question_id": 1, "turns": ["a", "b"]}) + "\n")
    status = main(["answers", str(finished_run), "--format", "mt_bench", "--questions",
                   str(questions), "--models", "M0", "M2", "--max-tokens", "4", "--out",
                   str(tmp_path / "out")])  # fmt: skip
    captured = capsys.readouterr()
    assert status == 0, captured.err
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["run-M0.jsonl", "run-M2.jsonl"]
    for file in files:
        (line,) = file.read_text().splitlines()
        assert len(json.loads(line)["choices"][0]["turns"]) == 2
