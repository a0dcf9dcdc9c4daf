"""A whole run whose every number can be worked out by hand: answers and scores are scripted, the
store, the pairing and the training are real.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from iterdpo.cli import execute as run
from iterdpo.config.choices import as_values
from iterdpo.config.schema import Config
from iterdpo.engines.scripted import TRUNCATED, ScriptedAnswer, ScriptedEngine, ScriptedScores
from iterdpo.errors import EngineDiedError, NoPairsError, UserError
from iterdpo.evaluation.summary import JudgmentCounts
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy
from iterdpo.runtime.signals import Stopped, StopRequest
from iterdpo.store.hashing import sha256_of
from iterdpo.store.registry import RegisteredRun, entries
from tests.checkpoints import CheckpointOf
from tests.loop.conftest import Configure
from tests.narrowing import present

PROMPTS = 40


Scripted = Callable[..., tuple[Config, ScriptedEngine]]


@pytest.fixture
def scripted(configure: Configure, checkpoint_of: CheckpointOf, tmp_path: Path) -> Scripted:
    """A function from an answer and a choice function to (configuration, engine)."""
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Prompt {n}."}) + "\n" for n in range(PROMPTS)))

    def get(
        answer: ScriptedAnswer, choose: ScriptedScores, *overrides: str
    ) -> tuple[Config, ScriptedEngine]:
        config = configure(
            "experiment=own_model", f"model.path={checkpoint_of('llama')}",
            "model.quantization=none", f"prompts.path={path}", "prompts.per_iteration=4",
            "candidates.n=3", "judge.score=expected", "judge.min_mass=0.5",
            "training.batch_size=2", "training.micro_batch_size=2", "iterations=1",
            "evaluation.prompts=1", "evaluation.reference_prompts=1",
            "evaluation.reference_samples=2",
            "engine.max_gap=null",  # a table's log-probs are no model's
            *overrides,
        )  # fmt: skip
        return config, ScriptedEngine(answer=answer, choose=choose, vocabulary=200)

    return get


def number_of(text: str) -> int:
    """Return the sample's number, which every scripted answer carries."""
    return int(text.rsplit("answer number ", 1)[1][0])


def test_pairs_margins_and_tokens_are_those_of_arithmetic(
    scripted: Scripted, tmp_path: Path
) -> None:
    # Three answers a prompt, scored 0, 1 and 2 for certain: best against worst is 2 against 0.
    config, engine = scripted(
        lambda request, policy, sample: f"answer number {sample}" + " more" * sample,
        lambda request, policy: {str(number_of(request.messages[-1].content)): 1.0},
    )
    result = run.execute(config, tmp_path / "run", engine)
    made = result.iterations[0]
    assert made.judgments == JudgmentCounts(scored=12, unscored=0, reasons={})
    assert (made.pairs.kept, sum(made.pairs.dropped.values())) == (4, 0)
    assert made.pairs.quality.margin_mean == 2.0
    assert made.pairs.quality.length_ratio == pytest.approx(5 / 3)  # 3 words and 2 more, against 3
    assert made.generated_tokens == 4 * (3 + 4 + 5)
    training = present(made.training)
    assert (training.pairs, training.steps) == (4, 2)
    methods = [(method, policy) for method, policy, _ in engine.calls]
    # The loop's, two evaluations, the judge reference set.
    assert methods.count(("generate", "M0")) == 4
    assert methods.count(("generate", "M1")) == 2


def test_truncated_answers_and_split_scores(scripted: Scripted, tmp_path: Path) -> None:
    # The best answer is cut off, so 1 is left against 0; half of the mass on two scores is a mean.
    config, engine = scripted(
        lambda request, policy, sample: f"answer number {sample}" + TRUNCATED * (sample == 2),
        lambda request, policy: {
            0: {"0": 1.0}, 1: {"2": 0.3, "5": 0.3}, 2: {"5": 1.0},
        }[number_of(request.messages[-1].content)],
    )  # fmt: skip
    result = run.execute(config, tmp_path / "run", engine)
    pairs = result.iterations[0].pairs
    assert pairs.kept == 4
    assert pairs.quality.margin_mean == pytest.approx(3.5)  # (2 + 5) / 2 - 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            (),
            r"iteration 1: 12 of 12 answers got no score \(12 no_mass\); .* judge\.min_scored=0\.5",
        ),
        (("judge.min_scored=0",), "no preference pair was left .*4 unscored"),
    ],
)
def test_a_judge_that_says_something_else_stops_the_run(
    scripted: Scripted, tmp_path: Path, overrides: tuple[str, ...], said: str
) -> None:
    config, engine = scripted(
        lambda request, policy, sample: f"answer number {sample}",
        lambda request, policy: {"5": 0.2},  # the rest of the mass is on no score at all
        *overrides,
    )
    with pytest.raises(UserError, match=said):
        run.execute(config, tmp_path / "run", engine)


@pytest.mark.parametrize("signal_first", [True, False])
def test_an_engine_that_dies_is_an_error_and_of_a_signal_a_stop(
    scripted: Scripted, tmp_path: Path, signal_first: bool
) -> None:
    stop = StopRequest()

    def die(request: Request, policy: Policy, sample: int) -> str:
        stop.number = SIGTERM if signal_first else None
        raise EngineDiedError("it died")

    config, engine = scripted(die, lambda request, policy: {})
    with pytest.raises(Stopped if signal_first else EngineDiedError):
        run.execute(config, tmp_path / "run", engine, stop)


def test_equal_scores_are_ties_and_say_so(scripted: Scripted, tmp_path: Path) -> None:
    config, engine = scripted(
        lambda request, policy, sample: f"answer number {sample}",
        lambda request, policy: {"4": 1.0},
    )
    with pytest.raises(NoPairsError, match=r"4 tie.*scores: 4: 12"):
        run.execute(config, tmp_path / "run", engine)


def test_a_run_is_gone_on_from_when_it_has_failed_and_not_while_it_lives(
    scripted: Scripted, tmp_path: Path
) -> None:
    found: list[Any] = []

    def look() -> None:
        another = RegisteredRun(
            config.store.root, tmp_path / "another", sha256_of(as_values(config))
        )
        with another.continued() as stopped:
            found.append(stopped)

    def answer(request: Request, policy: Policy, sample: int) -> str:
        if found:
            raise UserError("the engine is gone")
        with ThreadPoolExecutor() as beside:
            beside.submit(look).result()
        return f"answer number {sample}"

    config, engine = scripted(answer, lambda request, policy: {"4": 1.0})
    with pytest.raises(UserError, match="the engine is gone"):
        run.execute(config, tmp_path / "run", engine)
    look()
    assert found == [None, tmp_path / "run"]


def test_what_the_stages_took_does_not_depend_on_who_computed_them(
    scripted: Scripted, tmp_path: Path
) -> None:
    config, engine = scripted(
        lambda request, policy, sample: f"answer number {sample}",
        lambda request, policy: {str(number_of(request.messages[-1].content)): 1.0},
    )
    took = run.execute(config, tmp_path / "run", engine).run.stage_seconds
    (entry,) = entries(config.store.root)
    assert tuple(item.stage for item in took) == entry.stages
    for item in took:
        manifest = json.loads((config.store.root / item.stage / "stage.json").read_text())
        assert item.seconds == manifest["seconds"]
    again = run.execute(config, tmp_path / "again", engine)
    assert again.run.stage_seconds == took
