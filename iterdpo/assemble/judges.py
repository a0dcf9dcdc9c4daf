"""Who judges."""

from __future__ import annotations

from typing import cast

from iterdpo.config.choices import build
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.judging.asking import blaming
from iterdpo.judging.base import Judge
from iterdpo.store.hash_cache import HashCache


def make_judge(config: Config, engine: Engine) -> Judge:
    """Return the configured judge. A model of its own is found and hashed, but not loaded.

    Raises:
        UserError: what the configuration names is not there: a rubric, a checkpoint, labels, a key.
    """
    judge = cast(
        "Judge",
        build(
            "judge",
            config.judge.choice,
            engine=engine,
            seed=config.seed,
            hash_file=HashCache(config.store.root).file_sha256,
        ),
    )
    with blaming(judge, f"judge: {type(judge).__name__}"):
        judge.prepare()
    return judge
