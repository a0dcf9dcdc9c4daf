"""Everything that a run needs besides its store."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from dataclasses import dataclass
from pathlib import Path

from iterdpo.assemble.engines import make_engine
from iterdpo.assemble.hardware import (
    experimental,
    require_optimizers,
    require_processes,
    resolved,
    say_unused_accelerator,
)
from iterdpo.assemble.judges import make_judge
from iterdpo.assemble.memory import require_memory
from iterdpo.assemble.offline_pairs import OfflineRows, longest_read, with_offline_pairs
from iterdpo.assemble.prompts import make_prompts
from iterdpo.assemble.recipe import make_recipe
from iterdpo.config.choices import build
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.pairing.base import Strategy
from iterdpo.pairing.offline import OfflineDataset
from iterdpo.recipe import Recipe
from iterdpo.stages.offline_pairs import KeepOfflinePairs
from iterdpo.stages.pairs import BuildPairs
from iterdpo.tracking.safe import SafeTracker

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")


@dataclass(frozen=True)
class Assembly:
    """What a run needs besides its store."""

    recipe: Recipe
    engine: VerifiedEngine
    tracker: SafeTracker


def assemble(config: Config, run_dir: Path, engine: Engine | None = None) -> Assembly:
    """Build everything that ``config`` names.

    Args:
        config: the typed configuration.
        run_dir: where the tracker's files go.
        engine: takes the place of the configured one, in tests and dry runs.

    Raises:
        UserError: a file that the configuration names cannot be used, or the machine cannot do
            what it asks.
    """
    config = resolved(config)
    require_optimizers(config)
    require_processes(config)
    say_unused_accelerator(config)
    require_memory(config)
    for line in experimental(config):
        log.warning("%s", line)
    pairing: Strategy | OfflineDataset = build("pairs", config.pairs.choice)
    offline = None
    build_pairs: BuildPairs | KeepOfflinePairs
    if isinstance(pairing, OfflineDataset):
        offline = OfflineRows(pairing.dataset, config.pairs.min_margin)
        build_pairs = KeepOfflinePairs(longest_read(config))
    else:
        build_pairs = BuildPairs(pairing, config.pairs.min_margin)
    prompts = make_prompts(config, offline)
    verified = VerifiedEngine(engine or make_engine(config))
    oracle = None
    if config.evaluation.oracle is not None:
        oracle = build("evaluation.oracle", config.evaluation.oracle)
    judge = make_judge(config, verified)
    recipe = make_recipe(config, verified, prompts, judge, oracle, build_pairs)
    if offline is not None:
        recipe = with_offline_pairs(recipe, config, offline, prompts)
    return Assembly(recipe, verified, make_tracker(config, run_dir))


def make_tracker(config: Config, run_dir: Path) -> SafeTracker:
    """Return the configured tracker. Its failures never stop a run."""
    tracker = build("tracking", config.tracking.choice, run_dir=run_dir)
    return SafeTracker(tracker, config.tracking.samples)


def library_versions() -> dict[str, str]:
    """Return the versions of what computes results, Python included."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **versions}
