"""Whole runs with judges other than the policy: what is judged once, and who is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iterdpo.cli import execute as run
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.evaluation.summary import Summary
from iterdpo.store.inventory import Inventory, read_store
from iterdpo.tools.store.lineage import lineages
from tests.checkpoints import CheckpointOf
from tests.judging.rankers import make_pairrm
from tests.judging.server import said, serving
from tests.loop.conftest import Configure

Judged = Callable[..., tuple[Summary, Inventory, ScriptedEngine]]


@pytest.fixture
def judged(configure: Configure, checkpoint_of: CheckpointOf, tmp_path: Path) -> Judged:
    """A function from overrides to the result of a small run and its store."""
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Prompt {n}."}) + "\n" for n in range(40)))

    def get(*overrides: str) -> tuple[Summary, Inventory, ScriptedEngine]:
        config = configure(
            "experiment=own_model", f"model.path={checkpoint_of('llama')}",
            "model.quantization=none", f"prompts.path={path}", "prompts.per_iteration=4",
            "candidates.n=3", "training.batch_size=2", "training.micro_batch_size=2",
            "iterations=1", "evaluation.prompts=2", "evaluation.reference_prompts=2",
            "evaluation.reference_samples=2", "evaluation.arbiter=none", "engine.max_gap=null",
            *overrides,
        )  # fmt: skip
        engine = ScriptedEngine(lambda _, policy, sample: f"{policy.name} says {sample}")
        engine.vocabulary = 200
        return run.execute(config, tmp_path / "run", engine), read_store(config.store.root), engine

    return get


def pair_ids(result: Summary, inventory: Inventory) -> Any:
    import pyarrow.parquet as parquet

    stage = result.iterations[0].stages.pairs
    return parquet.read_table(inventory.root / stage / "records.parquet")["id"].to_pylist()


@pytest.mark.slow
def test_a_ranker_judges_the_reference_set_once_and_is_named(
    judged: Judged, tmp_path: Path
) -> None:
    checkpoint = make_pairrm(tmp_path / "pairrm")
    result, inventory, engine = judged("judge=pairrm", f"judge.path={checkpoint}")
    assert result.iterations[0].judgments.scored == 12
    assert not [call for call in engine.calls if call[0] == "choice_logprobs"]
    judgments = [model.stages.reference_judgments for model in result.models]
    assert len(set(judgments)) == 1
    # It agrees with itself, which is no finding about the model that it judges.
    assert [model.agreement_with_previous for model in result.models] == [None] * 2
    for pair_id in pair_ids(result, inventory):
        (found,) = lineages(inventory, pair_id)
        assert found.disagreements == ()
        assert found.judged_by == "pairrm"
        assert found.pair["chosen_score"] > 0 > found.pair["rejected_score"]
        assert [node.policy.name for node in found.policies] == ["M0"]


@pytest.mark.slow
def test_an_endpoint_judges_a_whole_run_and_its_key_is_nowhere(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-nowhere-to-be-found"
    monkeypatch.setenv("ITERDPO_TEST_KEY", key)

    def script(_: Any, body: Any) -> Any:
        return 200, said(f"Score: {body['messages'][-1]['content'].count('says 2') * 3 + 1}")

    with serving(script) as server:
        result, inventory, _ = judged(
            "judge=endpoint", f"judge.base_url={server.url}", "judge.samples=1",
            "judge.model=judge-8b", "judge.api_key_env=ITERDPO_TEST_KEY",
            "judge.price_in=1", "judge.budget=1",
        )  # fmt: skip
    assert server.headers[0]["Authorization"] == f"Bearer {key}"
    assert result.iterations[0].pairs.quality.margin_mean == 3.0
    stage = result.iterations[0].stages.judgments
    metrics = json.loads((inventory.root / stage / "stage.json").read_text())["metrics"]
    # Twelve answers at 10 tokens in and 5 out.
    assert metrics["judge"] == pytest.approx(
        {"requests": 12, "tokens_in": 120, "tokens_out": 60, "cost": 120e-6}
    )
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert key.encode() not in file.read_bytes(), file
