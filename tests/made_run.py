"""A finished run of two iterations with scripted answers and real training, made in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir

from iterdpo.cli import execute as run
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy

HOSTILE = '</script><img src=x onerror="document.title=1"> \u202eabc\x1b[31m'
"""A prompt that must stay text wherever it is shown."""
PROMPTS = 60


def answer(request: Request, policy: Policy, sample: int) -> str:
    """Return what every policy says: its name, and the sample's number twice over."""
    return f"{policy.name} says answer number {sample}" + " more" * sample


def choose(request: Request, policy: Policy) -> dict[str, float]:
    """Score an answer by its sample's number."""
    number = request.messages[-1].content.rsplit("answer number ", 1)[1][0]
    return {number: 1.0}


def make_run(directory: Path, checkpoint: Path) -> Path:
    """Write a run below ``directory`` and return the run's own directory."""
    engine = ScriptedEngine(answer=answer, choose=choose, vocabulary=200)
    run.execute(config_of(directory, checkpoint), directory / "run", engine)
    return directory / "run"


JUDGE = ("judge.score=expected", "judge.min_mass=0.5")
"""How the policy judges itself in that run."""


def config_of(
    directory: Path, checkpoint: Path, *overrides: str, judge: Sequence[str] = JUDGE
) -> Config:
    """Return the configuration of that run, whose prompts and store lie in ``directory``."""
    prompts = directory / "prompts.txt"
    lines = [f"Prompt {n}." for n in range(PROMPTS)]
    prompts.write_text("".join(f"{line}\n" for line in [*lines, HOSTILE.replace("\x1b", "")]))
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        composed = compose(
            "config",
            overrides=[
                "experiment=own_model", f"model.path={checkpoint}", "model.quantization=none",
                f"prompts.path={prompts}", "prompts.per_iteration=6", "prompts.held_out_share=0.5",
                "candidates.n=4", *judge,
                "training.batch_size=2", "training.micro_batch_size=2", "iterations=2",
                "evaluation.prompts=5", "evaluation.reference_prompts=2", "evaluation.samples=2",
                "evaluation.reference_samples=2", "engine.max_gap=null", "tracking=none",
                "engine.device=cpu", "report=false", f"store.root={directory / 'store'}",
                *overrides,
            ],
        )  # fmt: skip
    return typed(composed)
