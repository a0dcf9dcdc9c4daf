"""Whole small runs of the lab whose M0 is fine-tuned, or whose every weight is trained."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.config.compose import conf_directory, typed
from iterdpo.lab.answers import FLAWLESS, write
from iterdpo.lab.grammar import parse
from iterdpo.lab.splits import instructions
from iterdpo.runs.directory import Run
from iterdpo.runs.execute import execute
from iterdpo.store.identity import Ref
from iterdpo.store.inventory import read_store
from iterdpo.tools.store.policies import policy_chain
from tests.narrowing import present

SMALL = (
    "experiment=smoke", "iterations=1", "tracking=none", "report=false", "training.warmup=0",
    "candidates.n=4", "pairs=best_worst",
    "prompts.per_iteration=8", "evaluation.prompts=2", "evaluation.reference_prompts=2",
    "evaluation.samples=1", "engine.device=cpu",
)  # fmt: skip
ALL_WEIGHTS = ("model.adapter=null", "model.quantization=none")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of flawless answers to instructions that the loop never sees."""
    rng = random.Random(3)
    asked = rng.sample(instructions("seed"), 24)
    rows = [{"prompt": text, "response": write(parse(text), FLAWLESS, rng)} for text in asked]
    file = tmp_path_factory.mktemp("examples") / "examples.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "adapters", "from_start"),
    [
        (("sft=qlora", "training.reference=initial"), [True, True], True),
        (("sft=merged", "training.reference=base"), [False, True], True),
        (("sft=full", "training.reference=base", *ALL_WEIGHTS), [False, False], False),
    ],
)
def test_the_loop_runs_and_is_read_back(
    overrides: tuple[str, ...],
    adapters: list[bool],
    from_start: bool,
    examples: str,
    tmp_path: Path,
) -> None:
    asked = [*SMALL, *overrides, f"sft.path=[{examples}]", "sft.epochs=1", "sft.batch_size=8"]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = typed(compose("config", [*asked, f"store.root={tmp_path / 'store'}"]))
    result = execute(config, tmp_path / "run")
    m0, m1 = models = result.models
    assert [model.adapter_sha256 is not None for model in models] == adapters
    assert m0.fingerprint != m1.fingerprint
    assert [model.parent for model in models] == [None, "M0"]
    # Both were trained, and are proven to be what the engine applied.
    canaries = [result.canaries[model.fingerprint].outcome for model in models]
    assert canaries == ["applied", "applied"]
    (training,) = (present(made.training) for made in result.iterations)
    assert training.reference_unchanged
    assert training.step0_loss == pytest.approx(training.step0_expected_loss, rel=1e-4)
    # What is merged into the base is the bare base of everything after it.
    assert (training.step0_largest_reward < 1e-4) == from_start
    run = Run.open(tmp_path / "run")
    assert {name: policy.fingerprint for name, policy in run.policies.items()} == {
        model.name: model.fingerprint for model in models
    }
    # And the store walks M1 back to the same policies.
    stage, key = m1.stages.policy.split("/")
    chain = policy_chain(read_store(tmp_path / "store"), Ref(stage, key))
    found = {node.policy.name: node.policy.fingerprint for node in chain}
    assert {name: found[name] for name in ("M0", "M1")} == {
        model.name: model.fingerprint for model in models
    }
    assert chain[-1].policy.name == "base"
    for policy in run.policies.values():
        assert policy.trained_in is not None
        assert (policy.trained_in / "canary.json").is_file()
