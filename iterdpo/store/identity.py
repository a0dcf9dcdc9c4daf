"""What a stage's key is made of, and how two stages of the same name differ.

Pure: an identity is plain data, as ``runner.stage_identity`` makes it, and parents are looked up in
a mapping. So a stage that is only planned can be compared with stored ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from iterdpo.store.hashing import JSON, canonical_json

Identity = Mapping[str, JSON]
"""``stage``, ``version``, ``settings``, ``args`` and ``kwargs`` of a stage."""

SHORT = 8
"""Digits of a key that people are shown."""


class Ref(NamedTuple):
    """Which stage: a name and a key. Equal to the plain tuple of the two."""

    stage: str
    key: str

    def __str__(self) -> str:
        return f"{self.stage}/{self.key}"

    @property
    def short(self) -> str:
        return f"{self.stage} {self.key[:SHORT]}"


Known = Mapping[tuple[str, str], Identity]
"""Identities by (stage, key), stored or only planned."""

NOTHING: Known = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Difference:
    """One leaf in which two identities differ, or two identities that they were made from."""

    path: str
    """Where, such as ``settings.sampling.n`` or ``args[0]``."""
    before: str | None
    """The other's value as JSON text, or as ``<stage> <key>``; None where it has none."""
    after: str | None
    """This identity's value, likewise."""
    via: tuple[Ref, ...] = ()
    """The inputs that lead to the stage that differs, it being the last; empty for a difference
    of the identity itself."""
    leaves: int = 1
    """How many leaves it stands for: another stage as an input stands for all of its leaves."""

    def __str__(self) -> str:
        return f"{self.path}: {self.before or '(none)'} -> {self.after or '(none)'}"


def parents(identity: Identity) -> list[Ref]:
    """Return the stages that are inputs of ``identity``, however deep: by place, then by name."""
    return list(_refs(identity).values())


def difference(identity: Identity, other: Identity, known: Known = NOTHING) -> list[Difference]:
    """Return where ``identity`` differs from ``other``, down to the stages that differ first.

    An input that is another stage of the same name is followed into both, as far as ``known``
    goes. A leaf that differs in the same way in several generations of a stage (the beta of M1 and
    of M2) is reported once: of the identity itself, else of the earliest generation.

    Args:
        identity: the stage in question; ``after`` in the result is its side.
        other: what it is compared with.
        known: identities of parents by (stage, key). One that is missing is not followed.
    """
    found: dict[tuple[JSON, str, str | None, str | None], Difference] = {}
    queue: deque[tuple[Identity, Identity, tuple[Ref, ...]]] = deque([(identity, other, ())])
    followed: set[tuple[Ref, Ref]] = set()
    while queue:
        this, that, via = queue.popleft()
        differing = _own(this, that, via)
        for path, (mine, its) in _paired(this, that).items():
            ours, theirs = known.get(mine), known.get(its)
            if ours is None or theirs is None or mine.stage != its.stage:
                differing.append(_replaced(path, mine, its, via, known))
            elif (mine, its) not in followed:
                followed.add((mine, its))
                queue.append((ours, theirs, (*via, mine)))
        for item in differing:
            leaf = (this["stage"], item.path, item.before, item.after)
            if leaf not in found or found[leaf].via:
                found[leaf] = item
    return list(found.values())


def nearest(
    identity: Identity, candidates: Iterable[Identity], known: Known = NOTHING
) -> Identity | None:
    """Return which of ``candidates`` differs from ``identity`` in the fewest leaves.

    Only those of the same stage count, and ``identity`` itself does not. Of equally near ones it is
    the first. None when there is none.
    """
    mine = canonical_json(identity)
    others = (
        other
        for other in candidates
        if other["stage"] == identity["stage"] and canonical_json(other) != mine
    )
    return min(
        others,
        key=lambda other: sum(item.leaves for item in difference(identity, other, known)),
        default=None,
    )


def describe(differences: Iterable[Difference]) -> list[str]:
    """Return lines for people: the identity's own differences, then those it was led to."""
    grouped: dict[tuple[Ref, ...], list[Difference]] = {}
    for item in differences:
        grouped.setdefault(item.via, []).append(item)
    lines = [str(item) for item in grouped.pop((), [])]
    for via, items in grouped.items():
        lines.append(_because(via))
        lines.extend(f"  {item}" for item in items)
    return lines


def _because(via: tuple[Ref, ...]) -> str:
    *through, last = via
    # A long chain of generations says no more than the names that occur in it.
    names = list(dict.fromkeys(ref.stage for ref in through))
    passed = f", through {', '.join(names)}" if names else ""
    return f"because {last.short} {'differ' if last.stage.endswith('s') else 'differs'}{passed}:"


def _own(this: Identity, that: Identity, via: tuple[Ref, ...]) -> list[Difference]:
    mine, its = dict(_identity_leaves(this)), dict(_identity_leaves(that))
    followed = _paired(this, that)
    return [
        Difference(path, its.get(path), mine.get(path), via)
        for path in dict.fromkeys([*its, *mine])
        # As text, because the key is made of the text: there 1, 1.0 and true are three values.
        if its.get(path) != mine.get(path) and path not in followed
    ]


def _identity_leaves(identity: Identity) -> Iterator[tuple[str, str]]:
    for name in ("stage", "version", "settings"):
        yield from leaves(identity[name], name)
    for path, leaf in _inputs(identity):
        yield path, leaf.short if isinstance(leaf, Ref) else leaf


def leaves(value: JSON, path: str) -> Iterator[tuple[str, str]]:
    """Yield what lies in ``value`` as JSON text, each by its path below ``path``: ``path.a.b``."""
    if isinstance(value, dict) and value:
        for name in sorted(value):
            yield from leaves(value[name], f"{path}.{name}")
    else:
        yield path, canonical_json(value)


def _inputs(identity: Identity) -> Iterator[tuple[str, Ref | str]]:
    """Yield the leaves of the inputs by path: earlier stages, and plain values as JSON text."""
    args, kwargs = identity["args"], identity["kwargs"]
    assert isinstance(args, list)
    assert isinstance(kwargs, dict)
    for position, value in enumerate(args):
        yield from _input_leaves(value, f"args[{position}]")
    for name in sorted(kwargs):
        yield from _input_leaves(kwargs[name], f"kwargs.{name}")


def _input_leaves(value: JSON, path: str) -> Iterator[tuple[str, Ref | str]]:
    if ref := _ref(value):
        yield path, ref
    elif isinstance(value, dict) and value:
        for name in sorted(value):
            yield from _input_leaves(value[name], f"{path}.{name}")
    elif isinstance(value, list) and value:
        for position, item in enumerate(value):
            yield from _input_leaves(item, f"{path}[{position}]")
    else:
        yield path, canonical_json(value)


def _refs(identity: Identity) -> dict[str, Ref]:
    """Return the stages that are inputs of ``identity``, by path."""
    return {path: leaf for path, leaf in _inputs(identity) if isinstance(leaf, Ref)}


def _paired(this: Identity, that: Identity) -> dict[str, tuple[Ref, Ref]]:
    """Return where both have a stage, and not the same one."""
    mine, its = _refs(this), _refs(that)
    return {p: (mine[p], its[p]) for p in mine if p in its and mine[p] != its[p]}


def _replaced(path: str, mine: Ref, its: Ref, via: tuple[Ref, ...], known: Known) -> Difference:
    sizes = [len(list(_identity_leaves(known[ref]))) for ref in (mine, its) if ref in known]
    return Difference(path, its.short, mine.short, via, max(sizes, default=1))


def _ref(arg: JSON) -> Ref | None:
    if isinstance(arg, dict) and arg.keys() == {"stage", "key"}:
        stage, key = arg["stage"], arg["key"]
        if isinstance(stage, str) and isinstance(key, str):
            return Ref(stage, key)
    return None
