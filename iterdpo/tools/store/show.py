"""How the store's tool writes to a terminal: plain lines, and tables that fit 80 columns.

Everything that comes from the store is shown as text, never as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from iterdpo.runtime.formatting import DASH, count, disk_size, moment, number
from iterdpo.runtime.terminal import console, harmless
from iterdpo.store.identity import SHORT, Ref, describe
from iterdpo.store.inventory import Finished, Inventory, Leftover
from iterdpo.tools.store.explain import Explanation
from iterdpo.tools.store.garbage import Garbage
from iterdpo.tools.store.integrity import Problem

PIPED = 400
"""Columns where there is no terminal: a row stays a line."""


def line(text: str = "") -> None:
    """Write one line of plain text."""
    sys.stdout.write(harmless(text.replace("\n", " ")) + "\n")


def inventory(found: Inventory, stage: str | None = None) -> None:
    """Write what lies in a store, or what of it belongs to one stage."""
    stages = [item for item in found.finished.values() if stage in (None, item.ref.stage)]
    leftovers = [item for item in found.leftovers if stage in (None, item.stage)]
    numbers = _users(found)
    first: dict[str, float] = {}
    for item in stages:
        first.setdefault(item.ref.stage, item.when)
    stages.sort(key=lambda item: (first[item.ref.stage], item.ref.stage, item.when))
    if stages:
        _table(
            ("stage", "key", "size", "seconds", "finished", "records", "runs"),
            [_stage_row(item, numbers.get(item.ref, [])) for item in stages],
            right=(2, 3, 5),
        )
    if leftovers:
        line()
        _table(
            ("unfinished or left over", "key", "size", "written", ""),
            [_leftover_row(item) for item in leftovers],
            right=(2,),
        )
    line()
    seconds = sum(item.manifest.seconds for item in stages if item.manifest)
    line(f"{count(len(stages), 'stage')}, {_sizes(stages)}, {number(seconds, 1)} s to compute")
    if leftovers:
        line(f"{len(leftovers)} unfinished or left over, {_sizes(leftovers)}")
    for at, run in enumerate(found.runs, start=1):
        if run.problem:
            line(f"run {at}: {run.problem}")
            continue
        state = "" if run.finished else ", not finished"
        state += "" if run.exists else ", its directory is gone"
        line(f"run {at}: {run.directory} ({count(len(run.stages), 'stage')}{state})")
    _problems(stages)


def integrity(found: Sequence[Problem], stages: int) -> None:
    """Write what verifying found."""
    for item in found:
        line(f"{item.ref.short}  {item.file}: {item.what}")
    if not found:
        line(f"{count(stages, 'stage')}: every file is what its stage wrote")
        return
    wrong = len({item.ref for item in found})
    line(
        f"{wrong} of {count(stages, 'stage')} damaged; the next run that needs one sets it aside "
        "and computes it again"
    )


def explanation(found: Explanation) -> None:
    """Write why a stage was computed."""
    this, other = found.stage, found.nearest
    for reason in found.set_aside:
        line(f"{this.ref.short} was set aside and computed again, since the earlier one {reason}")
    if other is None:
        line(f"{this.ref.short} ran because there was no other {this.ref.stage} stage to read")
        return
    if found.earlier:
        line(f"{this.ref.short} ran because no stored stage was made of the same")
        line(f"nearest of {found.compared} before it: {other.ref.short}, {moment(other.when)}")
    else:
        line(f"{this.ref.short} was the first of its name")
        line(f"nearest of {found.compared} after it: {other.ref.short}, {moment(other.when)}")
    line()
    for text in describe(found.differences):
        line(text)
    if found.versions:
        line()
        line("libraries, which are no part of a key:")
        for text in found.versions:
            line(f"  {text}")


def garbage(items: Iterable[Garbage], heading: str) -> None:
    """Write what may go, or what stays, with its reasons and its total."""
    items = list(items)
    line(f"{heading}: {len(items)}, {_sizes(items)}")
    if not items:
        return
    reasons: dict[str, list[Garbage]] = {}
    for item in items:
        reasons.setdefault(item.reason, []).append(item)
    for reason, group in reasons.items():
        line(f"  {reason}:")
        _table(None, [_garbage_row(item) for item in group], right=(2,))


def _stage_row(item: Finished, runs: Sequence[int]) -> tuple[str, ...]:
    took = number(item.manifest.seconds, 1) if item.manifest else "?"
    records = item.records()
    return (
        item.ref.stage, item.ref.key[:SHORT], disk_size(item.size), took, moment(item.when),
        count(records), spans(runs) or DASH,
    )  # fmt: skip


def _leftover_row(item: Leftover) -> tuple[str, ...]:
    what = {"unfinished": "unfinished", "partial": "killed write", "damaged": "damaged"}[item.kind]
    name = f"{item.stage} {what}".strip()
    return name, item.key[:SHORT] or DASH, disk_size(item.size), moment(item.when), item.note


def _garbage_row(item: Garbage) -> tuple[str, ...]:
    name = item.path.name
    what = item.stage or item.path.parent.name
    return f"    {what}", item.key[:SHORT] or name, disk_size(item.size), moment(item.when)


def spans(numbers: Sequence[int]) -> str:
    """Return rising numbers as spans: ``1-3,5``."""
    found: list[list[int]] = []
    for item in numbers:
        if found and item == found[-1][1] + 1:
            found[-1][1] = item
        else:
            found.append([item, item])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _users(found: Inventory) -> Mapping[Ref, list[int]]:
    numbers: dict[Ref, list[int]] = {}
    for at, run in enumerate(found.runs, start=1):
        for ref in found.closure(run.stages):
            numbers.setdefault(ref, []).append(at)
    return numbers


def _problems(stages: Iterable[Finished]) -> None:
    grouped: dict[str, list[Finished]] = {}
    for item in stages:
        if item.problem:
            grouped.setdefault(item.problem, []).append(item)
    for problem, items in grouped.items():
        more = f" and {len(items) - 1} more" if len(items) > 1 else ""
        line(f"{items[0].ref.short}{more}: {problem}")


def _sizes(items: Iterable[Finished | Leftover | Garbage]) -> str:
    return disk_size(sum(item.size for item in items))


def _table(
    names: Sequence[str] | None, rows: Sequence[Sequence[str]], right: Sequence[int]
) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, show_header=names is not None, header_style="bold", padding=(0, 2, 0, 0),
        pad_edge=False,
    )  # fmt: skip
    for column, name in enumerate(names or [""] * len(rows[0])):
        table.add_column(
            name,
            justify="right" if column in right else "left",
            no_wrap=column < len(rows[0]) - 1,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    console(PIPED, soft_wrap=True).print(table)
