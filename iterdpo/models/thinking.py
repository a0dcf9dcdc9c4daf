"""How a checkpoint thinks before it answers: its marks, and the template's switch."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from iterdpo.errors import UserError
from iterdpo.records import Thought

Mode = Literal["auto", "on", "off"]
Decode = Callable[[Sequence[int]], str]

_MARKS: Final = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
_SWITCHES: Final = ("enable_thinking", "thinking")
"""Template arguments of Qwen3 and SmolLM3, and of Granite and DeepSeek V3.1."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """What is passed to a template, and how what the model then writes is taken apart."""

    opening: str = ""
    closing: str = ""
    """The marks around a thought; empty for a model that knows none."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the template is given beside the messages."""
    closed: bool = False
    """Whether every prompt is to end behind an empty thought, by our own hand where the template
    has no switch."""

    @property
    def identity(self) -> dict[str, object]:
        """What an engine's key holds of it: nothing for a model that does not think."""
        return {} if self == NO_THINKING else {"thinking": asdict(self)}

    def without_thought(self, prompt: str) -> str:
        """Return a rendered prompt with an empty thought at its end, where it has none."""
        end = prompt.rstrip()
        if not self.closing or end.endswith(self.closing):
            return prompt
        if end.endswith(self.opening):
            return f"{end}\n\n{self.closing}\n\n"
        return f"{prompt}{self.opening}\n\n{self.closing}\n\n"

    def read(
        self, token_ids: Sequence[int], spell: Decode, decode: Decode, *, opened: bool
    ) -> tuple[str, Thought | None]:
        """Return the answer in what a model wrote, and the thought before it.

        The last closing mark ends the thought, as vendors' own parsers have it. Behind a thought
        that was opened and never closed there is no answer: then the text is empty.

        Args:
            token_ids: what was written.
            spell: gives the text of tokens, special ones too: a mark may be one.
            decode: gives it without special tokens.
            opened: whether the prompt ended inside a thought.
        """
        written = spell(token_ids)
        times = written.count(self.closing)
        rest = written.rpartition(self.closing)[2]
        if self.opening in rest or (opened and not times):
            return "", Thought(written, len(token_ids), closed=False)
        if not times:
            return decode(token_ids), None

        def closings(end: int) -> int:
            return spell(token_ids[:end]).count(self.closing)

        end = bisect_left(range(len(token_ids) + 1), times, key=closings)
        # The token that closes it may spell what comes next as well.
        thought, _, more = spell(token_ids[:end]).rpartition(self.closing)
        answer = (more + decode(token_ids[end:])).lstrip("\n")
        return answer, Thought(thought + self.closing, end, closed=True)


NO_THINKING: Final = Thinking()


def thinking_of(
    mode: Mode,
    marks: tuple[str, str] | None,
    arguments: Mapping[str, Any],
    template: str | None,
) -> Thinking:
    """Return how a checkpoint thinks, by its settings and its chat template.

    Args:
        mode: ``auto`` leaves it to the template.
        marks: opening and closing; None for those that the template writes.
        arguments: what the template is given beside the messages.
        template: its source; None for a base model.

    Raises:
        UserError: the template knows no thoughts that could be switched on, or the arguments say
            the opposite of the mode.
    """
    text = template or ""
    found = marks or next((known for known in _MARKS if known[1] in text), None)
    if found is None:
        if mode == "on":
            raise UserError(
                "model.thinking=on: the chat template knows no thoughts; use auto, or say what "
                "opens and closes one: model.thought_marks=['<think>','</think>']"
            )
        return Thinking(arguments=arguments) if arguments else NO_THINKING
    given = dict(arguments)
    switch = next((name for name in _SWITCHES if re.search(rf"\b{name}\b", text)), None)
    if mode != "auto" and switch is not None:
        if given.get(switch, mode == "on") != (mode == "on"):
            raise UserError(
                f"model.template_arguments.{switch}={given[switch]}: model.thinking={mode} says "
                "the opposite; leave one of them out"
            )
        given[switch] = mode == "on"
    return Thinking(*found, given, closed=mode == "off")


def template_of(checkpoint: Path) -> str | None:
    """Return the source of a checkpoint's chat template, without loading its tokenizer."""
    file = checkpoint / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    config = checkpoint / "tokenizer_config.json"
    declared = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    template = declared.get("chat_template") if isinstance(declared, dict) else None
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template}
        template = named.get("default")
    return template if isinstance(template, str) else None
