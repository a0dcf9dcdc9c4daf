"""What every pool of prompts does, a user's own too: three sets, and prompts that carry more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble import make_prompts
from iterdpo.config.compose import conf_directory, typed
from iterdpo.config.schema import Config
from iterdpo.conversation import Message, RubricItem
from iterdpo.errors import ConfigError, UserError
from iterdpo.models.chat_messages import Request
from iterdpo.prompts import PromptPool
from iterdpo.prompts.base import assert_held_out
from iterdpo.prompts.pairs import PairsPrompts, Rows
from iterdpo.prompts.self_instruct import SelfInstructPrompts, Writing
from iterdpo.records import Prompt
from iterdpo.settings import identity, settings_of
from iterdpo.stages.generate import SelectPrompts
from iterdpo.store.runner import Stages
from tests.prompts.sources import dataset_prompts, file_prompts
from tests.prompts.test_pairs import pair

DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"


@dataclass(frozen=True)
class Listed(PromptPool):
    """Prompts as they are listed."""

    given: tuple[Any, ...]

    def prompts(self) -> Iterable[Prompt | str]:
        return iter(self.given)


TEXTS = tuple(f"Name {n} things that float" for n in range(60))
TALK = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello."))
RICH = tuple(
    Prompt.of(
        f"Talk {n}", "a list", messages=(*TALK, Message("user", f"Why {n}?")), reference=str(n),
        rubric=(RubricItem("is short", 2.0),), metadata={"level": n, "tests": ["a", "b"]},
    )
    for n in range(30)
)  # fmt: skip


def dealt(source: PromptPool) -> list[Prompt]:
    return [*source.loop(1, 999, 0), *source.evaluation(999, 0), *source.judge_reference(999, 0)]


def configured(*overrides: str) -> Config:
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return typed(compose("config", list(overrides)))


def test_texts_and_records_are_dealt_out_once_each() -> None:
    source = Listed((*TEXTS, *RICH, *TEXTS[:3]))
    prompts = dealt(source)
    assert len(prompts) == len({prompt.id for prompt in prompts}) == 90
    assert {prompt for prompt in prompts if prompt.messages} == set(RICH)
    (first,) = [prompt for prompt in prompts if prompt.text == TEXTS[0]]
    assert (first.id, first.source) == (Prompt.of(TEXTS[0], "").id, "Listed, 1")
    assert_held_out(
        source.loop(1, 999, 0), [*source.evaluation(99, 0), *source.judge_reference(99, 0)]
    )


def test_prompts_of_one_text_with_other_right_answers_are_several_in_one_set() -> None:
    asked = [Prompt.of("Guess.", "a list", reference=str(n)) for n in range(5)]
    source = Listed((*TEXTS, *asked))
    loop = [prompt for prompt in source.loop(1, 999, 0) if prompt.text == "Guess."]
    held_out = [prompt for prompt in dealt(source) if prompt.text == "Guess."]
    assert len(held_out) == 5
    assert len(loop) in (0, 5)


def test_what_a_prompt_carries_reaches_the_stage_and_the_model(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    stored = stages.run(SelectPrompts(Listed(RICH), "loop", 99, 0), 1)
    assert set(stored.value) <= set(RICH)
    prompt = stored.value[0]
    again = next(item for item in RICH if item.id == prompt.id)
    assert (prompt.metadata, prompt.rubric) == (again.metadata, again.rubric)
    assert Request.to(prompt, "unused").messages == again.messages


def test_a_change_of_what_is_listed_is_another_source() -> None:
    usual = identity(Listed(TEXTS))
    assert identity(Listed(TEXTS)) == usual
    assert json.loads(json.dumps(usual)) == usual
    other = replace(RICH[0], metadata={"level": 9})
    assert len({identity(Listed(items))["prompts"] for items in (
        TEXTS, TEXTS[1:], (*TEXTS, RICH[0]), (*TEXTS, other),
    )}) == 4  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "Listed gives no prompt"),
        (("a", " "), "number 2 of Listed is empty; leave it out"),
        (("a", 3), "number 2 of Listed is a number: 3; give a text or a Prompt"),
        (
            (Prompt("1", "a", "s"), Prompt("1", "b", "s")),
            "Listed gives two prompts the id 1; make them with Prompt.of, which names them by what "
            "they are",
        ),
    ],
)
def test_what_is_no_prompt_is_one_line(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UserError) as error:
        Listed(given).loop(1, 1, 0)
    assert str(error.value) == f"prompts: {said}"


def test_a_source_of_ones_own_is_chosen_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(# my_prompts\.py\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "documented_prompts.py").write_text(blocks[0])
    chosen = ["prompts=custom", "prompts._target_=documented_prompts.Sums", "+prompts.largest=9"]
    source = make_prompts(configured(*chosen))
    asked = source.loop(1, 999, 0)
    # 81 sums, a fifth of them held out.
    assert 50 < len(asked) < 80
    assert {prompt.reference for prompt in asked if prompt.text == "What is 2 + 3?"} <= {"5"}
    assert all(prompt.reference for prompt in asked)


WRITING = Writing(
    shots=4, written_shots=1, asked=3, temperature=0.6, top_p=0.9, max_tokens=99, max_tries=5.0,
    min_words=3, max_words=20, keywords=(), ascii_start=True, max_similarity=0.7,
)  # fmt: skip


def test_every_setting_of_our_sources_changes_what_they_are_or_is_marked(tmp_path: Path) -> None:
    rows = [{"prompt": text, "other": f"{text}?", "right": "yes"} for text in TEXTS]
    file, copy = tmp_path / "rows.jsonl", tmp_path / "copy.jsonl"
    for place in (file, copy):
        place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"path": str(copy), "field": "other", "held_out_share": 0.2}
    beside = {"reference": "right", "rubric": "right", "metadata": ("right",)}
    dataset = dataset_prompts(file)
    shorter = replace(dataset.dataset, max_chars=24)
    written = SelfInstructPrompts(
        path=str(file), field="prompt", held_out_share=0.1, dataset=None, self_instruct=WRITING
    )
    others: list[tuple[Any, dict[str, Any]]] = [
        (file_prompts(file), {**asked, **beside}),
        (dataset, {**asked, **beside, "dataset": shorter}),
        (written, {**asked, "dataset": shorter,
                   "self_instruct": replace(WRITING, shots=5)}),
        (PairsPrompts(held_out_share=0.1, pairs=Rows("f", [pair(t) for t in TEXTS], None)),
         {"held_out_share": 0.4}),
    ]  # fmt: skip
    for source, another in others:
        own = [item for item in settings_of(type(source)) if not item.provided]
        assert {item.name for item in own} == set(another)
        usual = identity(source)
        for item in own:
            changed = identity(replace(source, **{item.name: another[item.name]})) != usual
            # What is written after examples is no part of what the examples are.
            assert changed == (item.name != "self_instruct"), (type(source).__name__, item.name)
            assert item.keyless or item.name == "held_out_share"


def test_pairs_prompts_without_pairs_are_refused_at_the_door() -> None:
    with pytest.raises(ConfigError, match=r"^prompts=pairs: there are none; choose pairs=dataset"):
        configured("prompts=pairs")
