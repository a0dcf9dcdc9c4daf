"""A pair's lineage, for people and for machines. Model text is untrusted and shown as text."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain

from iterdpo.records import OFFLINE
from iterdpo.runtime.terminal import harmless
from iterdpo.tools.store.export import finite
from iterdpo.tools.store.lineage import JudgedAnswer, Lineage, Row
from iterdpo.tools.store.policies import PolicyNode
from iterdpo.tools.store.show import line

MARGIN = "  | "


def as_json(found: Sequence[Lineage]) -> str:
    """Return the lineages as one JSON text in ASCII; numbers unknown to JSON are null."""
    values, _ = finite([asdict(item) for item in found])
    return json.dumps(values, indent=1, allow_nan=False)


def lineage(found: Lineage) -> None:
    """Write one lineage."""
    names = {node.policy.fingerprint: node.policy.name for node in found.policies}
    pair = found.pair
    line(
        f"pair {pair['id']}: chosen {pair['chosen_score']:.3f}, rejected "
        f"{pair['rejected_score']:.3f}{_scale(found)}"
    )
    line()
    line(f"prompt {found.prompt['id']}, from {found.prompt['source']}")
    _block(found.prompt["text"])
    for side, answer in (("chosen", found.chosen), ("rejected", found.rejected)):
        line()
        _answer(side, answer, names.get(found.writer, found.writer))
        _judgment(answer.judgment, found.judged_by, found)
    if found.policies:
        line()
        line("policies")
    for node in found.policies:
        for text in _policy(node, names):
            line(text)
    line()
    line("stages")
    for stage, keys in found.stages.items():
        for key in keys:
            line(f"  {stage:<10} {key}")
    for problem in found.disagreements:
        line(f"disagreement: {problem}")


def _answer(side: str, answer: JudgedAnswer, writer: str) -> None:
    candidate = answer.candidate
    tokens, total = len(candidate["token_ids"]), sum(candidate["logprobs"])
    line(f"{side} {candidate['id']}, sample {candidate['index']}")
    _block(candidate["text"])
    if writer == OFFLINE:
        line(f"  came with the data, and was written by no model of the run: {tokens} tokens")
        return
    line(
        f"  written by {writer}: {tokens} tokens, log-prob {total:.3f} nats, "
        f"seed {candidate['seed']}, ended by {candidate['finish_reason']}"
    )


def _judgment(judgment: Row, judge: str, found: Lineage) -> None:
    if judgment["score"] is None:
        line(f"  not scored by {judge}: {judgment['unscored_reason']}")
        _block(judgment["unscored_raw"] or "")
    else:
        line(f"  scored {judgment['score']:.3f}{_scale(found)} by {judge}")
    if judgment["distribution"]:
        low = int(found.scale[0]) if found.scale else 0
        shares = enumerate(judgment["distribution"], start=low)
        line("  " + ", ".join(f"{score}: {share:.3f}" for score, share in shares))
    if judgment["mass"] is not None:
        line(f"  {judgment['mass']:.4f} of the probability on the scores")
    for number, raw in enumerate(judgment["raw"], start=1):
        line(f"  verdict {number} of {len(judgment['raw'])}")
        _block(raw)


def _policy(node: PolicyNode, names: dict[str, str]) -> Iterator[str]:
    policy = node.policy
    yield f"  {policy.name}  {policy.fingerprint}  {node.stage.short}"
    if policy.adapter is None:
        yield f"      {policy.base.quantization}, {policy.base.dtype}"
        yield f"      checkpoint sha256 {policy.base.sha256}"
    else:
        yield f"      {policy.adapter.path}"
        yield f"      sha256 {policy.adapter.sha256}"
    if policy.parent is not None:
        learned = f"trained on {node.trained_on.short}" if node.trained_on else node.stage.stage
        yield f"      from {names.get(policy.parent, policy.parent)}, {learned}"


def _scale(found: Lineage) -> str:
    return f" of {found.scale[0]:g} to {found.scale[1]:g}" if found.scale else ""


def _block(text: str) -> None:
    """Write untrusted text with a margin on every line, so that none can pass for ours."""
    from rich.cells import chop_cells

    width = shutil.get_terminal_size((80, 24)).columns - len(MARGIN) - 1
    lines = harmless(text).split("\n")
    if sys.stdout.isatty():
        lines = list(
            chain.from_iterable(chop_cells(part, max(width, 20)) or [""] for part in lines)
        )
    for part in lines:
        line(f"{MARGIN}{part}")
