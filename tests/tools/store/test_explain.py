from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.store.identity import Difference, Ref, describe, difference, nearest, parents
from iterdpo.store.inventory import read_store
from iterdpo.tools.store.explain import explain
from tests.store.stores import Store, identity, put_loop

PROMPTS = Ref("prompts", "a" * 64)
OLD, NEW = Ref("adapter", "b" * 64), Ref("adapter", "c" * 64)
Known = dict[tuple[str, str], Any]

BETA: Known = {
    OLD: identity("adapter", {"training": {"beta": 0.1, "loss": "sigmoid"}}, 1),
    NEW: identity("adapter", {"training": {"beta": 0.3, "loss": "sigmoid"}}, 1),
}


def lines(this: Any, that: Any, known: Known | None = None) -> list[str]:
    return [str(item) for item in difference(this, that, known or {})]


def test_a_nested_setting_is_named_by_its_path() -> None:
    four = identity("candidates", {"sampling": {"n": 4, "top_k": 0}, "system": None}, 1)
    eight = identity("candidates", {"sampling": {"n": 8, "top_k": 0}, "system": None}, 1)
    assert difference(eight, four) == [Difference("settings.sampling.n", "4", "8")]
    assert lines(eight, four) == ["settings.sampling.n: 4 -> 8"]
    assert difference(four, four) == []


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (1, 1.0, "settings.x: 1 -> 1.0"),  # three keys, though equal to Python
        (True, 1, "settings.x: true -> 1"),
        (["a", "b"], ["a"], 'settings.x: ["a","b"] -> ["a"]'),
        ({}, {"y": 2}, "settings.x: {} -> (none)|settings.x.y: (none) -> 2"),
        (None, "null", 'settings.x: null -> "null"'),
    ],
)
def test_what_has_another_key_differs(before: Any, after: Any, line: str) -> None:
    this, that = identity("s", {"x": after}), identity("s", {"x": before})
    assert lines(this, that) == line.split("|")


def test_a_setting_that_is_new_had_none_before() -> None:
    assert lines(identity("s", {"x": 1, "y": None}), identity("s", {"x": 1})) == [
        "settings.y: (none) -> null"
    ]


def test_versions_and_plain_arguments_count_and_so_does_their_number() -> None:
    this, that = identity("s", {}, 2, 7, version=3), identity("s", {}, 1, version=2)
    assert lines(this, that) == ["version: 2 -> 3", "args[0]: 1 -> 2", "args[1]: (none) -> 7"]


def test_an_argument_is_followed_to_the_stage_that_differs_first() -> None:
    before, after = (
        identity("candidates", {}, PROMPTS, OLD),
        identity("candidates", {}, PROMPTS, NEW),
    )
    found = difference(after, before, BETA)
    assert found == [Difference("settings.training.beta", "0.1", "0.3", via=(NEW,))]
    assert describe(found) == [
        "because adapter cccccccc differs:",
        "  settings.training.beta: 0.1 -> 0.3",
    ]


def test_named_and_nested_arguments_are_followed_and_named_by_their_path() -> None:
    before, after = (
        identity("health", {}) | {"args": [[1, arg._asdict()]], "kwargs": {"policy": arg._asdict()}}
        for arg in (OLD, NEW)
    )
    assert lines(after, before, BETA) == ["settings.training.beta: 0.1 -> 0.3"]
    assert lines(after, before) == [
        "args[0][1]: adapter bbbbbbbb -> adapter cccccccc",
        "kwargs.policy: adapter bbbbbbbb -> adapter cccccccc",
    ]
    alone = before | {"args": [[2]], "kwargs": {"policy": None}}
    assert lines(after, alone, BETA) == [
        "args[0][0]: 2 -> 1",
        "kwargs.policy: null -> adapter cccccccc",
        "args[0][1]: (none) -> adapter cccccccc",
    ]


def test_a_parent_that_is_planned_and_not_stored_is_given_in_the_mapping() -> None:
    stored: Known = {(OLD.stage, OLD.key): BETA[OLD]}
    planned: Known = {(NEW.stage, NEW.key): BETA[NEW]}
    before, after = identity("candidates", {}, OLD), identity("candidates", {}, NEW)
    assert lines(after, before, stored | planned) == ["settings.training.beta: 0.1 -> 0.3"]
    assert lines(after, before, stored) == ["args[0]: adapter bbbbbbbb -> adapter cccccccc"]


def generations(beta: float, count: int) -> tuple[list[Any], Known, list[Ref]]:
    """Return the identities of M1 .. M<count>, each trained from the one before."""
    made = [identity("adapter", {"beta": beta}, 1)]
    refs = []
    for number in range(1, count):
        refs.append(Ref("adapter", f"{beta}-{number}"))
        made.append(identity("adapter", {"beta": beta}, number + 1, refs[-1]))
    return made, dict(zip(refs, made, strict=False)), refs


def test_the_same_change_in_every_generation_is_reported_once_where_it_began() -> None:
    (old, old_known, old_refs), (new, new_known, new_refs) = (
        generations(0.1, 3),
        generations(0.3, 3),
    )
    known = old_known | new_known
    # Of the stage itself when it has it ...
    assert difference(new[2], old[2], known) == [Difference("settings.beta", "0.1", "0.3")]
    # ... else of the earliest: M1, not M2.
    m1, m2 = new_refs
    this, that = identity("candidates", {}, m2), identity("candidates", {}, old_refs[1])
    assert difference(this, that, known) == [
        Difference("settings.beta", "0.1", "0.3", via=(m2, m1))
    ]


def test_thousands_of_generations_are_no_deeper_than_one() -> None:
    (old, old_known, _), (new, new_known, _) = generations(0.1, 3000), generations(0.3, 3000)
    assert lines(new[-1], old[-1], old_known | new_known) == ["settings.beta: 0.1 -> 0.3"]


def test_ways_that_meet_again_are_followed_once() -> None:
    known: Known = {}
    this, that = Ref("s", "new-0"), Ref("s", "old-0")
    known[this], known[that] = identity("s", {"x": 2}), identity("s", {"x": 1})
    for number in range(1, 100):  # each made twice of the one before: 2**99 ways
        made = identity("s", {}, this, this), identity("s", {}, that, that)
        this, that = Ref("s", f"new-{number}"), Ref("s", f"old-{number}")
        known[this], known[that] = made
    assert lines(known[this], known[that], known) == ["settings.x: 1 -> 2"]


def test_another_kind_of_stage_stands_for_all_of_its_leaves() -> None:
    base = Ref("base", "d" * 64)
    known = BETA | {base: identity("base", {"dtype": "float32"})}
    (found,) = difference(identity("candidates", {}, NEW), identity("candidates", {}, base), known)
    assert str(found) == "args[0]: base dddddddd -> adapter cccccccc"
    assert found.leaves == 5  # stage, version, two settings, one argument


def test_the_nearest_is_the_one_with_the_fewest_differing_leaves() -> None:
    this = identity("s", {"a": 1, "b": 1, "c": 1})
    one, two = identity("s", {"a": 2, "b": 1, "c": 1}), identity("s", {"a": 2, "b": 2, "c": 1})
    also_one = identity("s", {"a": 1, "b": 3, "c": 1})
    assert nearest(this, [two, one, also_one]) == one  # the first of equals
    assert nearest(this, [two, also_one, one]) == also_one
    assert nearest(this, [this, identity("t", {"a": 1, "b": 1, "c": 1})]) is None
    assert nearest(this, []) is None


def test_two_settings_are_nearer_than_another_iteration() -> None:
    base = Ref("base", "d" * 64)
    far = identity("candidates", {"n": 4}, 1, base)
    near = identity("candidates", {"n": 8}, 2, OLD)
    known = BETA | {base: identity("base", {"dtype": "float32"})}
    assert nearest(identity("candidates", {"n": 4}, 2, NEW), [far, near], known) == near


def test_lines_are_grouped_by_the_stage_that_differs() -> None:
    via = (Ref("judgments", "1" * 64), Ref("candidates", "2" * 64), Ref("base", "3" * 64))
    found = [
        Difference("version", "1", "2"),
        Difference("settings.a", None, "5", via[:1]),
        Difference("settings.b", "1", None, via),
        Difference("settings.c", "1", "2", via),
    ]
    assert describe(found) == [
        "version: 1 -> 2",
        "because judgments 11111111 differ:",
        "  settings.a: (none) -> 5",
        "because base 33333333 differs, through judgments, candidates:",
        "  settings.b: 1 -> (none)",
        "  settings.c: 1 -> 2",
    ]


def test_parents_are_the_arguments_that_are_stages() -> None:
    made = identity("s", {}, 1, OLD, {"stage": "x"}, NEW, None)
    assert parents(made) == [OLD, NEW]


def test_a_sweep_is_explained_by_what_it_sweeps(tmp_path: Path) -> None:
    store = Store(tmp_path)
    low = put_loop(store)
    high = store.put(
        "adapter", {"training": {"beta": 0.3}}, 1, low.base, low.base, low.pairs, low.candidates
    )
    answers = store.put("candidates", {"sampling": {"n": 2}}, low.second["prompts"], high)
    inventory = read_store(tmp_path)
    found = explain(inventory, inventory.finished[answers])
    assert found.nearest is not None
    assert found.nearest.ref == low.second["candidates"]
    assert (found.earlier, found.compared, found.versions, found.set_aside) == (True, 2, (), ())
    assert describe(found.differences) == [
        f"because adapter {high.key[:8]} differs:",
        "  settings.training.beta: 0.1 -> 0.3",
    ]


def test_only_what_was_there_before_could_have_been_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    refs = [store.put("s", {"x": x, "y": y}) for x, y in [(1, 1), (2, 2), (2, 1)]]
    inventory = read_store(tmp_path)
    second = explain(inventory, inventory.finished[refs[1]])  # the third one is nearer, and later
    assert second.nearest is not None
    assert (second.nearest.ref, second.earlier, second.compared) == (refs[0], True, 1)
    first = explain(inventory, inventory.finished[refs[0]])
    assert first.nearest is not None
    assert (first.nearest.ref, first.earlier, first.compared) == (refs[2], False, 2)


def test_of_equally_near_ones_the_latest_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    refs = [store.put("s", {"x": x}) for x in (1, 2, 3)]
    inventory = read_store(tmp_path)
    found = explain(inventory, inventory.finished[refs[2]]).nearest
    assert found is not None
    assert found.ref == refs[1]


def test_libraries_and_earlier_damage_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("s", {"x": 1}, versions={"torch": "2.12.0", "peft": "0.20", "trl": "1"})
    ref = store.put("s", {"x": 2}, versions={"torch": "2.13.0", "trl": "1", "vllm": "0.31"})
    store.leave(f"s/{ref.key}.corrupt-1/stage.json")
    store.leave(f"s/.work-{ref.key}/shards/x.corrupt-1")  # a part, not the stage
    inventory = read_store(tmp_path)
    found = explain(inventory, inventory.finished[ref])
    assert found.versions == (
        "peft: 0.20 -> (none)",
        "torch: 2.12.0 -> 2.13.0",
        "vllm: (none) -> 0.31",
    )
    assert found.set_aside == ("was damaged",)


def test_a_stage_that_cannot_be_read_is_nobodys_nearest_and_explains_nothing(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    old, new = store.put("s", {"x": 1}), store.put("s", {"x": 2})
    (store.at(old) / "stage.json").write_text(json.dumps({"key": old.key}))
    inventory = read_store(tmp_path)
    assert explain(inventory, inventory.finished[new]).nearest is None
    with pytest.raises(UserError, match=r"stage\.json has no usable identity"):
        explain(inventory, inventory.finished[old])
