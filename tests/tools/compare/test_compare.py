"""Completions side by side: which instructions, which models, and the table."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iterdpo.engines.scripted import TRUNCATED, ScriptedEngine
from iterdpo.errors import UserError
from iterdpo.evaluation.oracles import LabOracle
from iterdpo.prompts.base import PromptSource, folded
from iterdpo.records import Prompt
from iterdpo.runs.directory import Run
from iterdpo.tools.compare import compare
from iterdpo.tools.compare.__main__ import FORMULA, WIDTH, main, show, write_csv
from iterdpo.tools.compare.answers import ComparedAnswer, as_frame, default_names, sampling_of
from iterdpo.tools.compare.unseen import History, held_out
from tests.made_run import HOSTILE


@pytest.fixture
def run(finished_run: Path) -> Run:
    return Run.open(finished_run)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(
        answer=lambda request, policy, sample: f"{policy.name}: {request.messages[-1].content}"
    )


def test_the_default_is_unseen_instructions_and_m0_against_the_last(
    run: Run, engine: ScriptedEngine
) -> None:
    frame = compare(run, n=4, engine_for=lambda _: engine)
    assert list(frame.columns) == ["instruction", "seen", "M0", "M2"]
    assert list(frame["seen"]) == ["never"] * 4
    trained = {folded(p.text) for t in (1, 2) for p in run.made(t).prompts}
    measured = {
        folded(p.text)
        for stage in (run.models[0].stages.held_out, run.models[0].stages.reference_prompts)
        for p in run.records(stage, Prompt)
    }
    assert not {folded(text) for text in frame["instruction"]} & (trained | measured)
    for name in ("M0", "M2"):
        assert list(frame[name]) == [f"{name}: {text}" for text in frame["instruction"]]


def test_measured_instructions_follow_when_no_unseen_one_is_left(
    run: Run, engine: ScriptedEngine
) -> None:
    everything = compare(run, n=1000, engine_for=lambda _: engine)
    seen = list(everything["seen"])
    assert seen.count("evaluation") == 7  # 5 for writers and 2 for judges
    assert seen == sorted(seen, key=["never", "evaluation"].index)
    assert everything["instruction"].is_unique


def test_instructions_that_were_trained_on_are_marked_whatever_their_case(
    run: Run, engine: ScriptedEngine
) -> None:
    trained = run.made(2).prompts[0].text
    frame = compare(run, prompts=[f"  {trained.upper()}", "new"], engine_for=lambda _: engine)
    assert list(frame["seen"]) == ["training", "never"]


def test_training_outweighs_evaluation(run: Run) -> None:
    history = History.of([run])
    known = {prompt.text for t in (1, 2) for prompt in run.made(t).prompts}
    assert {history[text] for text in known} == {"training"}
    assert history["something else"] == "never"


def test_no_held_out_instruction_that_was_trained_on() -> None:
    class Source:
        def evaluation(self, count: int, seed: int) -> list[Prompt]:
            return [Prompt.of("a", "t")]

        judge_reference = evaluation

    with pytest.raises(UserError, match="--prompts FILE"):
        held_out(cast("PromptSource", Source()), History({"a": "training"}), 3, 0)


def test_a_file_keeps_its_order(run: Run, engine: ScriptedEngine, tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps({"q": text}) + "\n" for text in ("z", "a", "m")))
    frame = compare(run, prompts=file, field="q", engine_for=lambda _: engine)
    assert list(frame["instruction"]) == ["z", "a", "m"]
    with pytest.raises(UserError, match=r"no row .* has such a field"):
        compare(run, prompts=file, engine_for=lambda _: engine)


def test_several_runs_are_told_apart_and_share_m0(
    run: Run, engine: ScriptedEngine, tmp_path: Path
) -> None:
    shutil.copytree(run.directory, tmp_path / "other", symlinks=True)
    frame = compare([run, tmp_path / "other"], ["M0", "M2"], n=2, engine_for=lambda _: engine)
    assert list(frame.columns[2:]) == ["M0", "run/M2", "other/M2"]
    same = tmp_path / "b" / "run"
    shutil.copytree(run.directory, same, symlinks=True)
    above = run.directory.parent.name
    frame = compare([run.directory, same], ["M1"], n=2, engine_for=lambda _: engine)
    assert list(frame.columns[2:]) == [f"{above}/run/M1", "b/run/M1"]


def test_m0_and_the_best_model_are_the_default(run: Run) -> None:
    def named(best: str, models: int = 3) -> list[str]:
        summary = replace(
            run.summary,
            best=replace(run.summary.best, model=best),
            models=run.summary.models[:models],
        )
        return default_names(Run(run.directory, run.values, summary))

    assert named("M1") == ["M0", "M1"]
    assert named("M0") == ["M0", "M2"]  # one column would compare nothing
    assert named("M0", models=1) == ["M0"]


def test_sampling_is_the_runs_own_unless_asked_otherwise(run: Run) -> None:
    own = sampling_of(run, greedy=False, temperature=None, seed=None)
    candidates = run.config.candidates
    assert (own.n, own.temperature, own.top_p) == (1, candidates.temperature, candidates.top_p)
    greedy = sampling_of(run, greedy=True, temperature=None, seed=3)
    assert (greedy.temperature, greedy.top_p, greedy.top_k, greedy.seed) == (0.0, 1.0, 0, 3)
    assert sampling_of(run, greedy=False, temperature=0.3, seed=None).temperature == 0.3


def test_long_instructions_and_cut_off_answers_are_told(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ScriptedEngine(answer=lambda request, policy, sample: "cut" + TRUNCATED, context=3)
    caplog.set_level("WARNING", "iterdpo")
    frame = compare(run, ["M1"], prompts=["one two", "one two three four"],
                    engine_for=lambda _: engine)  # fmt: skip
    assert frame["M1"][0] == "cut" + TRUNCATED
    assert pd.isna(frame["M1"][1])
    assert "M1: 1 instructions do not fit its context" in caplog.text
    assert "M1: 1 of 2 answers were cut off" in caplog.text


def test_scores_of_the_oracle() -> None:
    oracle = LabOracle()
    prompt = Prompt.of("name two tools in reverse order", "lab")
    answers = {"M0": [ComparedAnswer("saw axe")], "M1": [ComparedAnswer(None)]}
    frame = as_frame([prompt], ["never"], answers, oracle)
    assert list(frame.columns) == ["instruction", "seen", "M0", "M1", "M0 score", "M1 score"]
    assert frame["M0 score"][0] == oracle.score(prompt, "saw axe")
    assert pd.isna(frame["M1 score"][0])


def test_the_oracle_scores_what_it_knows_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab, other = Prompt.of("name two tools in reverse order", "lab"), Prompt.of("hello", "given")
    answers = {"M0": [ComparedAnswer("saw axe"), ComparedAnswer("hi")]}
    frame = as_frame([lab, other], ["never"] * 2, answers, LabOracle())
    assert frame["M0 score"][0] == LabOracle().score(lab, "saw axe")
    assert pd.isna(frame["M0 score"][1])
    show(frame)
    assert "nan" not in capsys.readouterr().out
    frame = as_frame([other], ["never"], {"M0": [ComparedAnswer("hi")]}, LabOracle())
    assert list(frame.columns) == ["instruction", "seen", "M0"]


# No lone surrogate: UTF-8 has none, and no tokenizer decodes to one.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_every_text_is_read_back_from_the_csv(tmp_path: Path, rows: Any) -> None:
    frame = pd.DataFrame(rows, columns=["instruction", "M0"])
    write_csv(frame, tmp_path / "t.csv")
    read = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, dtype=str, lineterminator="\n")
    assert not any(text.startswith(FORMULA[:-1]) for row in read.to_numpy() for text in row)
    assert read.map(lambda text: text.removeprefix("'")).to_numpy().tolist() == (
        frame.to_numpy().tolist()
    )


def test_a_spreadsheet_computes_no_cell_of_the_csv(tmp_path: Path) -> None:
    texts = ["=HYPERLINK(A1)", "+1", "-1", "@SUM(1)", "\t=1", "＝1", "'quoted'"]
    write_csv(pd.DataFrame({"=M0": [*texts, "plain = text"], "score": -1.5}), tmp_path / "t.csv")
    read = pd.read_csv(tmp_path / "t.csv")
    assert list(read["'=M0"]) == [*(f"'{text}" for text in texts), "plain = text"]
    assert set(read["score"]) == {-1.5}


def test_a_pipe_gets_a_wrapped_table_of_whole_harmless_texts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = [f"word{n}" for n in range(100)]
    show(pd.DataFrame({"instruction": [HOSTILE], "seen": ["never"], "M0": [" ".join(long)]}))
    said = capsys.readouterr().out
    assert re.findall("word[0-9]+", said) == long
    assert max(map(len, said.splitlines())) <= WIDTH
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_a_terminal_gets_a_wrapped_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    frame = pd.DataFrame(
        {"instruction": [HOSTILE], "seen": ["training"], "M0": ["[bold]x[/bold] " * 30],
         "M0 score": [4.5]}
    )  # fmt: skip
    show(frame)
    said = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)  # the table's own style
    assert "[bold]" in said.replace("\n", "")  # text, not markup
    assert "seen: training" in said
    assert "mean 4.50 of 5" in said
    assert max(map(len, said.splitlines())) <= 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "neither a run nor a sweep"),
        (["{run}", "--models", "M9"], "no model M9"),
        (["{run}", "--prompts", "none.txt"], "no such file"),
    ],
)
def test_errors_are_one_line(
    finished_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    status = main([argument.format(run=finished_run) for argument in arguments])
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert said in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("option", [["--n", "0"], ["--temperature", "-1"], ["--temperature", "x"]])
def test_numbers_are_checked(
    finished_run: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(finished_run), *option])
    assert "must be" in capsys.readouterr().err


def test_the_tool_from_end_to_end(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The run's real checkpoint and adapters, through the run's real engine.
    target = tmp_path / "out.csv"
    status = main([
        str(finished_run), "--n", "2", "--greedy", "--max-tokens", "4", "--csv", str(target),
        "--engine", "transformers",
    ])  # fmt: skip
    captured = capsys.readouterr()
    assert status == 0, captured.err
    read = pd.read_csv(target, keep_default_na=False)
    assert list(read.columns) == ["instruction", "seen", "M0", "M2"]
    assert len(read) == 2
    for text in read["instruction"]:
        assert text in captured.out
