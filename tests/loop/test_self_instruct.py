"""A whole run whose prompts M0 writes itself, answered from a table, and the settings of it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from iterdpo.cli import execute as run
from iterdpo.cli import plan
from iterdpo.config.schema import Config
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import ConfigError, UserError
from iterdpo.models.chat_messages import Request
from iterdpo.prompts.base import assert_held_out
from iterdpo.prompts.self_instruct import Writing
from iterdpo.records import Policy, Prompt
from iterdpo.store.hashing import derive_seed
from iterdpo.store.tables import read_records
from tests.checkpoints import CheckpointOf
from tests.loop.conftest import Configure

SEEDS = [" ".join(f"seed{n}part{part}" for part in range(6)) for n in range(40)]


@pytest.fixture
def configured(configure: Configure, checkpoint_of: CheckpointOf, tmp_path: Path) -> Configure:
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in SEEDS))

    def get(*overrides: str) -> Config:
        return configure(
            "experiment=own_model", "prompts=self_instruct", f"model.path={checkpoint_of('llama')}",
            "model.quantization=none", f"prompts.path={path}", "prompts.per_iteration=6",
            "candidates.n=3", "judge.score=expected", "judge.min_mass=0.5",
            "training.batch_size=2", "training.micro_batch_size=2", "iterations=2",
            "evaluation.prompts=2", "evaluation.reference_prompts=2",
            "evaluation.reference_samples=2",
            "engine.max_gap=null", "pairs.on_empty=skip", *overrides,
        )  # fmt: skip

    return get


def answer(request: Request, policy: Policy, sample: int) -> str:
    """Two new tasks to whoever asks for tasks, else a numbered answer."""
    text = request.messages[-1].content
    if "numbered 9 to 16" not in text:
        return f"answer number {sample}" + " more" * sample
    number = derive_seed(0, text)
    words = [" ".join(f"new{number}{which}part{part}" for part in range(5)) for which in "ab"]
    return f"9. {words[0]}\n10. {words[1]}"


def choose(request: Request, policy: Policy) -> dict[str, float]:
    """All answers are equally good, so that no pair is left and nothing is trained."""
    return {"3": 1.0}


def test_m0_writes_every_iterations_prompts_and_none_is_held_out(
    configured: Configure, tmp_path: Path
) -> None:
    config = configured()
    engine = ScriptedEngine(answer=answer, choose=choose, vocabulary=200)
    result = run.execute(config, tmp_path / "run", engine)
    stages = [made.stages for made in result.iterations]
    one, two = (
        read_records(config.store.root / stage.prompts / "records.parquet", Prompt)
        for stage in stages
    )
    assert len(one) == len(two) == 6
    assert not {prompt.text for prompt in one} & {prompt.text for prompt in two}
    assert {prompt.text for prompt in [*one, *two]}.isdisjoint(SEEDS)
    held_out = [
        prompt
        for path in config.store.root.glob("prompts/*/records.parquet")
        for prompt in read_records(path, Prompt)
        if prompt.text in SEEDS
    ]
    assert len(held_out) == 4
    assert_held_out([*one, *two], held_out)
    manifest = json.loads((config.store.root / stages[1].prompts / "stage.json").read_text())
    assert manifest["metrics"]["prompts"] == 6
    # The second iteration's prompts are made from M0 and the first one's.
    first = stages[0].prompts.split("/")[1]
    assert [arg.get("stage") for arg in manifest["identity"]["args"][1:]] == ["base", "prompts"]
    assert manifest["identity"]["args"][2]["key"] == first
    before = len(engine.calls)
    run.execute(config, tmp_path / "again", engine)
    assert len(engine.calls) == before


def keys(config: Config) -> set[str]:
    return {step.key for _, steps in plan.plan(config) for step in steps}


ANOTHER = {
    "shots": "7", "written_shots": "1", "asked": "7", "temperature": "0.7", "top_p": "0.8",
    "max_tokens": "99", "max_similarity": "0.6", "min_words": "3", "max_words": "99",
    "keywords": "[chart]", "ascii_start": "false", "max_tries": "9",
}  # fmt: skip


def test_every_setting_of_the_writing_changes_keys_but_how_long_it_tries(
    configured: Configure,
) -> None:
    usual = keys(configured())
    for name in (field.name for field in fields(Writing)):
        changed = keys(configured(f"prompts.self_instruct.{name}={ANOTHER[name]}"))
        assert (changed != usual) == (name != "max_tries"), name


def test_a_plan_knows_how_many_prompts_there_will_be(configured: Configure) -> None:
    steps = [step for _, steps in plan.plan(configured()) for step in steps]
    candidates = [step for step in steps if step.stage == "candidates"]
    assert candidates[0].estimate.tokens == 6 * 3 * 512


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("prompts.self_instruct=null", "prompts.self_instruct=null: is a group of settings"),
        ("prompts.self_instruct.written_shots=8", "must be below prompts.self_instruct.shots=8"),
        ("prompts.self_instruct.min_words=151", "must not be above"),
        ("prompts.self_instruct.max_similarity=0", "should be greater than 0"),
        ("prompts.path=null", "prompts.path=null: input should be a valid string"),
        ("prompts.path=no/such.jsonl", "prompts.path=no/such.jsonl: no such file"),
    ],
)
def test_settings_that_do_not_go_together(configured: Configure, override: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        configured(override)
    assert any(said in problem for problem in error.value.problems)


def test_a_model_that_writes_no_list_stops_the_run(configured: Configure, tmp_path: Path) -> None:
    engine = ScriptedEngine(
        answer=lambda request, policy, sample: f"answer number {sample}",
        choose=choose,
        vocabulary=200,
    )
    said = r"iteration 1: 0 of 6 instructions were written in 7 requests \(dropped: 7 requests wi"
    with pytest.raises(UserError, match=said):
        run.execute(configured(), tmp_path / "run", engine)
