"""Supervised fine-tuning before the loop."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from iterdpo.assemble.ranked import deal, make_examples, read
from iterdpo.config.schema import Config
from iterdpo.data.instructions import (
    INSTRUCTION_COLUMNS,
    Demonstration,
    best_answers,
    read_demonstrations,
)
from iterdpo.data.source import RowSource, read_source
from iterdpo.engines.base import Engine
from iterdpo.errors import UserError
from iterdpo.judging.base import Judge
from iterdpo.models.loading import declared_context
from iterdpo.prompts.base import PromptSource, folded
from iterdpo.stages.sft import SupervisedFineTuning

log = logging.getLogger(__name__)


def make_sft(
    config: Config, engine: Engine, checkpoint: str, prompts: PromptSource, judge: Judge
) -> SupervisedFineTuning | None:
    """Return the step that makes M0 from the base; None where M0 is the base.

    Args:
        config: the typed configuration.
        engine: runs the base while it is fine-tuned.
        checkpoint: the base's directory.
        prompts: what no example may ask is what it holds out: nothing that is measured is learned.
        judge: whose verdicts examples of judging are like.

    Raises:
        UserError: examples cannot be read, or all of them are held out.
    """
    sft, model = config.sft, config.model
    if sft.method == "none":
        return None
    held_out = frozenset(map(folded, prompts.held_out))
    demonstrations = [item for path in sft.path for item in _open(path, held_out)]
    exemplify = None
    if sft.ranked is not None:
        said = f"sft.ranked.path={sft.ranked.path}"
        dealt = deal(
            read(sft.ranked),
            instructions=sft.ranked.instructions,
            held_out=held_out,
            seed=config.seed,
            said=said,
        )
        log.info(
            "%s: %s answers to learn, answers to %s questions to judge",
            said, f"{len(dealt.answered):,}", f"{len(dealt.judged):,}",
        )  # fmt: skip
        demonstrations += best_answers(dealt.answered)
        asking = judge.sft_rubric
        assert asking is not None  # the check at the door saw it
        exemplify = make_examples(config, sft.ranked, asking, dealt.judged, engine)
    limits = (sft.max_length, model.context, declared_context(checkpoint))
    return SupervisedFineTuning(
        demonstrations=demonstrations,
        lora=model.adapter,
        sft=sft,
        longest=min((limit for limit in limits if limit is not None), default=None),
        attention=model.attention,
        trust_remote_code=model.trust_remote_code,
        seed=config.seed,
        engine=engine,
        max_engine_gap=config.engine.max_gap if config.engine.serve == "dequantized" else None,
        exemplify=exemplify,
    )


def _open(path: str, held_out: Collection[str]) -> Iterator[Demonstration]:
    """Yield the examples of a file that ask nothing that is held out."""
    given = _demonstrations(path)
    usable = [item for item in given if not _asks_any(item, held_out)]
    if not usable:
        raise UserError(
            f"sft.path={path}: all of its {len(given)} examples ask what prompts holds out for "
            "evaluation; give others, or lower prompts.held_out_share"
        )
    if left_out := len(given) - len(usable):
        log.info("sft.path=%s: %s examples left out, prompts holds them out", path, f"{left_out:,}")
    yield from usable


def _asks_any(item: Demonstration, held_out: Collection[str]) -> bool:
    return any(turn.role == "user" and folded(turn.content) in held_out for turn in item.prompt)


def _demonstrations(path: str) -> list[Demonstration]:
    source = RowSource(path=path, key="sft.path")
    return read_demonstrations(read_source(source, INSTRUCTION_COLUMNS), key=source.said)
