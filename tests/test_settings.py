"""What enters a key: settings that are added later move none while they are neutral."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pytest
from hydra import compose, initialize_config_dir

from iterdpo import records
from iterdpo.cli import plan
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.conversation import Message, RubricItem
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import UserError
from iterdpo.pairing.top_bottom import TopBottom
from iterdpo.records import Candidate, FinishReason, Prompt
from iterdpo.settings import Keyless, Neutral, Provided, identity, key_settings, settings_of
from iterdpo.store.tables import read_records, write_records
from tests.judging.rankers import self_judge

Later = Annotated[int, Neutral(7)]


def with_later_field(value: Any, number: int) -> Any:
    """Return the object as its class would be with one more field, added later."""
    kind = type(value)
    slots = "__slots__" in vars(kind)
    extended: Any = make_dataclass(
        kind.__name__, [("later", Later, field(default=7, kw_only=True))], bases=(kind,),
        frozen=True, slots=slots, namespace={"__module__": kind.__module__},
    )  # fmt: skip
    made: Any = object.__new__(extended)
    for item in fields(value):
        object.__setattr__(made, item.name, getattr(value, item.name))
    object.__setattr__(made, "later", number)
    return made


def composed(*overrides: str) -> Config:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", ["iterations=2", *overrides]))


def sections(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value) and not isinstance(value, type) and item.name != "choice":
            yield (*path, item.name)
            yield from sections(value, (*path, item.name))


def replaced(config: Any, path: tuple[str, ...], number: int) -> Any:
    if not path:
        return with_later_field(config, number)
    inner = replaced(getattr(config, path[0]), path[1:], number)
    return replace(config, **{path[0]: inner})


def keys(config: Config, root: Path) -> set[str]:
    config = replace(config, store=replace(config.store, root=root))
    return {stage.key for _, stages in plan.plan(config) for stage in stages}


@pytest.fixture(scope="module")
def lab() -> Config:
    return composed()


@pytest.fixture(scope="module")
def usual(lab: Config, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return keys(lab, tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("path", list(sections(composed())), ids=".".join)
def test_a_setting_added_at_its_neutral_value_moves_no_key(
    path: tuple[str, ...], lab: Config, usual: set[str], tmp_path: Path
) -> None:
    assert keys(replaced(lab, path, 7), tmp_path) == usual


@pytest.mark.parametrize("path", [("training",), ("model", "adapter"), ("health",)], ids=".".join)
def test_another_value_of_it_moves_keys(
    path: tuple[str, ...], lab: Config, usual: set[str], tmp_path: Path
) -> None:
    assert keys(replaced(lab, path, 8), tmp_path) != usual


RECORDS = [
    kind
    for _, kind in sorted(vars(records).items())
    if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == records.__name__
]


def test_every_record_is_looked_at() -> None:
    assert {"Prompt", "Candidate", "Judgment", "Pair", "Comparison"} <= {
        kind.__name__ for kind in RECORDS
    }


SAMPLES: dict[str, Any] = {
    "Prompt": Prompt.of("Name two fish.", "test"),
    "Candidate": Candidate(
        "c", "p", 0, "cod", (1, 2), (3,), (-0.5,), FinishReason.STOP, "writer", 3
    ),
    "Judgment": records.Judgment("j", "c", "p", "judge", records.Scored(3.0)),
    "Pair": records.Pair("i", "p", "a", "b", "ask", "yes", "no", 4.0, 1.0, "writer", "judge"),
    "Comparison": records.Comparison("i", "p", "a", "b", "judge", 0.5, 0.25),
}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_field_added_to_a_record_changes_no_row_while_it_is_neutral(
    name: str, tmp_path: Path
) -> None:
    record = SAMPLES[name]
    later = with_later_field(record, 7)
    before, after, other = (tmp_path / name for name in ("before", "after", "other"))
    write_records(before, type(record), [record])
    write_records(after, type(later), [later])
    assert after.read_bytes() == before.read_bytes()
    assert [item.later for item in read_records(before, type(later))] == [7]
    write_records(other, type(later), [later, with_later_field(record, 8)])
    assert [item.later for item in read_records(other, type(later))] == [7, 8]


def test_a_plain_prompt_keeps_its_id_and_a_fuller_one_has_another() -> None:
    plain = Prompt.of("Name two fish.", "a")
    # printf '["prompt", [], 0, "Name two fish."]' | sha256sum | cut -c1-16
    assert plain.id == "7448308b37b1c686"
    assert Prompt.of("Name two fish.", "b").id == plain.id
    fuller = [
        Prompt.of("Name two fish.", "a", reference="cod, eel"),
        Prompt.of("Name two fish.", "a", rubric=(RubricItem("names two"),)),
        Prompt.of("Name two fish.", "a", metadata={"subject": "fish"}),
        Prompt.of("Name two fish.", "a", messages=(Message("user", "Hi."),)),
    ]
    assert len({plain.id, *(prompt.id for prompt in fuller)}) == 5


def test_what_a_prompt_carries_is_read_back(tmp_path: Path) -> None:
    prompts = [
        Prompt.of("plain", "a"),
        Prompt.of(
            "full", "a", messages=(Message("system", "Be brief."), Message("user", "Hi.")),
            reference="4", rubric=(RubricItem("is right", 2.0), RubricItem("is rude", -1.0)),
            metadata={"level": 3, "tags": ["a"]},
        ),
    ]  # fmt: skip
    write_records(tmp_path / "prompts", Prompt, prompts)
    assert read_records(tmp_path / "prompts", Prompt) == prompts


@dataclass(frozen=True)
class Marked:
    """A class of somebody's own."""

    plain: int
    fast: Annotated[int, Keyless("speed")]
    later: Annotated[int | None, Neutral(None)] = None
    engine: Provided[object] = None


def test_marks_say_what_enters_a_key() -> None:
    assert key_settings(Marked(1, 2)) == {"plain": 1}
    assert key_settings(Marked(1, 2, 3, "an engine")) == {"plain": 1, "later": 3}
    assert [item.name for item in settings_of(Marked) if item.provided] == ["engine"]


def test_a_class_of_ones_own_counts_by_its_source() -> None:
    found = identity(Marked(1, 2))
    assert found["target"] == f"{Marked.__module__}.Marked"
    assert found["settings"] == {"plain": 1}
    assert len(str(found["source"])) == 64


def test_a_class_without_a_file_needs_a_version() -> None:
    space: dict[str, Any] = {"__name__": "notebook"}
    exec("class Own:\n    pass", space)
    with pytest.raises(UserError, match=r"Own: has no source file .* version = 1"):
        identity(space["Own"]())
    exec("class Own:\n    version = 3", space)
    assert identity(space["Own"]())["version"] == 3


def test_a_setting_added_to_a_choice_at_its_neutral_value_moves_no_key() -> None:
    for choice in (TopBottom(k=3), self_judge(ScriptedEngine(lambda *_: ""), "sampled")):
        assert identity(with_later_field(choice, 7)) == identity(choice)
        assert identity(with_later_field(choice, 8)) != identity(choice)


@dataclass(frozen=True)
class Reader:
    """Reads one of two files, the second in its own way."""

    way: str
    depth: int
    words: frozenset[str]
    file: Annotated[str, Keyless("counts by its text")] = "a"

    @property
    def content(self) -> dict[str, str]:
        return {"text": {"a": "alpha", "b": "beta"}[self.file]}

    @cached_property
    def unread_settings(self) -> set[str]:
        return {"depth"} if self.way == "plain" else set()


def test_what_settings_name_counts_and_what_they_make_unread_does_not() -> None:
    plain = Reader("plain", 1, frozenset("xy"))
    found = identity(plain)
    assert found["settings"] == {"way": "plain", "words": ["x", "y"]}
    assert found["text"] == "alpha"
    assert identity(replace(plain, depth=2)) == found
    assert identity(replace(plain, file="b")) != found
    deep = replace(plain, way="deep")
    assert identity(replace(deep, depth=2)) != identity(deep)


def test_a_missing_attribute_inside_of_content_is_an_error_and_not_no_content() -> None:
    @dataclass(frozen=True)
    class Wrong:
        @property
        def content(self) -> dict[str, str]:
            return {"text": self.missing}  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="missing"):
        identity(Wrong())


def test_a_setting_may_be_called_content() -> None:
    @dataclass(frozen=True)
    class Own:
        content: str = "words"

    assert identity(Own())["settings"] == {"content": "words"}


def test_a_class_counts_by_the_text_that_was_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "edited_while_it_runs.py"
    file.write_text("class Own: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module(file.stem).Own()
    before = identity(made)
    file.write_text("class Own: 'another'\n")
    assert identity(made) == before


def shipped_targets() -> set[str]:
    """Return every class of ours that a shipped file names."""
    found = re.compile(r"^ *_target_: (iterdpo\.\S+)", re.MULTILINE)
    texts = (path.read_text("utf-8") for path in conf_directory().glob("[!h]*/*.yaml"))
    return {target for text in texts for target in found.findall(text)}


@pytest.mark.parametrize("target", sorted(shipped_targets()))
def test_a_shipped_class_says_the_types_of_its_settings_and_who_it_is(target: str) -> None:
    module, _, name = target.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    assert isinstance(settings_of(kind), tuple)
    if not module.startswith("iterdpo.tracking"):  # which is in no key
        assert isinstance(kind.name, str)
        assert isinstance(kind.version, int)


def test_every_kind_of_choice_ships() -> None:
    names = {target.rpartition(".")[2] for target in shipped_targets()}
    assert {"SelfJudge", "TopBottom", "LabPrompts", "LocalEngine", "WandbTracker"} <= names
