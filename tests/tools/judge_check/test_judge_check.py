"""``iterdpo judge-check`` on labelled answers, by a scripted engine and by the lab's seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy
from iterdpo.tools.judge_check import check_judges
from iterdpo.tools.judge_check.__main__ import main

EXPECTED = "judge=additive judge.score=expected"


def by_number(request: Request, policy: Policy) -> dict[str, float]:
    """Score an answer that says "number N" by N."""
    return {request.messages[-1].content.rsplit("number ", 1)[1][0]: 1.0}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def scripted() -> ScriptedEngine:
    return ScriptedEngine(answer=lambda request, policy, sample: "", choose=by_number)


def test_pairs_are_judged_once_and_read_from_the_store_after(tmp_path: Path) -> None:
    data = write(
        tmp_path / "pairs.jsonl",
        {"prompt": "Same.", "chosen": "number 4", "rejected": "number 2"},
        {"prompt": "Other.", "chosen": "number 1", "rejected": "number 3"},
        {"prompt": "Same.", "chosen": "number 5", "rejected": "number 0"},
    )
    settings = ["engine.device=cpu", f"store.root={tmp_path / 'store'}"]
    first, again = scripted(), scripted()
    (found,) = check_judges(str(data), [EXPECTED], settings, engine=first)
    accuracy = found.check.pairwise_accuracy
    assert accuracy is not None
    assert accuracy.mean == pytest.approx(2 / 3)
    assert (accuracy.n, accuracy.clusters) == (3, 2)
    assert sum(asked for _, _, asked in first.calls) == 6
    assert check_judges(str(data), [EXPECTED], settings, engine=again) == [found]
    assert not again.calls


def test_ranked_responses_are_judged_best_first(tmp_path: Path) -> None:
    data = write(
        tmp_path / "ranked.jsonl",
        {"prompt": "One.", "responses": ["number 5", "number 3", "number 4"]},
        {"prompt": "Two.", "responses": ["number 3", "number 2", "number 1"]},
    )
    settings = ["engine.device=cpu", f"store.root={tmp_path / 'store'}"]
    (found,) = check_judges(str(data), [EXPECTED], settings, engine=scripted())
    assert found.check.pairwise_accuracy is not None
    assert found.check.pairwise_accuracy.mean == pytest.approx(5 / 6)
    assert found.check.exact_match is not None
    assert found.check.exact_match.mean == pytest.approx(1 / 2)


def test_the_labs_seed_orders_lab_answers_side_by_side_with_its_other_rubric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(
        tmp_path / "pairs.jsonl",
        *(
            {"prompt": f"name two {what}", "chosen": f"{right} .", "rejected": "dog dog dog dog ."}
            for what, right in (("colors", "red blue"), ("tools", "saw hammer"))
        ),
    )
    figures = tmp_path / "figures.json"
    status = main([
        str(data), "engine.device=cpu", f"store.root={tmp_path / 'store'}", "--judge", "judge=lab",
        "--judge", "judge=pairwise", "--json", str(figures),
    ])  # fmt: skip
    shown = capsys.readouterr().out
    assert status == 0
    assert "judge=lab" in shown
    assert "judge=pairwise" in shown
    lab, pairwise = json.loads(figures.read_text())
    assert lab["check"]["mass"]["mean"] > 0.9
    assert pairwise["check"]["answers"] == 4
    assert pairwise["metrics"]["judge"]["comparisons"] > 0


def test_what_a_user_can_put_right_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err
    data = write(tmp_path / "pairs.jsonl", {"prompt": "One.", "chosen": "a", "rejected": "a"})
    assert main([str(data)]) == 2
    assert "no row has two different answers" in capsys.readouterr().err
    assert main([str(data), "judge=none_such"]) == 2
