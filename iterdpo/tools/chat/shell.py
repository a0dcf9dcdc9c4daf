"""The conversation at a terminal or in a pipe: a message a line, commands with a slash."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from iterdpo.conversation import half_pair
from iterdpo.errors import UserError
from iterdpo.runtime.terminal import harmless
from iterdpo.store.atomic import write_text
from iterdpo.tools.chat.conversation import Conversation
from iterdpo.tools.chat.talker import ContextFullError

HELP = """\
/model NAME         let another model answer from now on, such as /model M1
/models             list the models
/all                let every model answer the last message
/again              answer the last message once more
/reset              forget the conversation
/system [TEXT]      show the system message, or set it (/system - for none)
/temperature [T]    show the temperature, or set it; 0 is greedy
/save FILE          write the conversation to FILE, as JSON
/help               this list
/quit               leave; so does the end of the input
Ctrl-C stops an answer. A message that begins with a slash is written with two."""


class ChatShell:
    """Reads lines, answers them and writes to ``out``; what is no answer goes to ``notes``."""

    def __init__(
        self,
        conversation: Conversation,
        run: str,
        read: Callable[[str], str] = input,
        out: TextIO | None = None,
        notes: TextIO | None = None,
        interactive: bool | None = None,
    ) -> None:
        """``read`` takes what to show before the line and raises ``EOFError`` after the last."""
        self.conversation, self.run = conversation, run
        self.out, self.notes = out or sys.stdout, notes or sys.stderr
        self._read = read
        self._interactive = sys.stdin.isatty() if interactive is None else interactive
        self._commands: dict[str, Callable[[str], None]] = {
            "model": self._model,
            "models": self._models,
            "all": self._all,
            "again": self._again,
            "reset": self._reset,
            "system": self._system,
            "temperature": self._temperature,
            "save": self._save,
            "help": lambda _: self._note(HELP),
        }

    def loop(self) -> None:
        """Answer line by line until the input ends or ``/quit``.

        Raises:
            KeyboardInterrupt: Ctrl-C between two answers, where no person is at a terminal.
        """
        while True:
            try:
                line = self._read(f"{self.conversation.model}> " if self._interactive else "")
            except EOFError:
                return
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                self._note("\n/quit leaves")
                continue
            if line.strip() in ("/quit", "/exit"):
                return
            if not line.strip():
                continue
            try:
                self._take(line)
            except UserError as error:
                self._note(str(error))
            except ContextFullError as error:
                self._note(f"{error}; /reset starts anew, or write less")

    def _take(self, line: str) -> None:
        if half := half_pair(line):
            raise UserError(f"this line is not UTF-8, or holds half a letter ({half}); not sent")
        if not line.startswith("/") or line.startswith("//"):
            self._show(self.conversation.ask(line.removeprefix("/")))
            return
        name, _, rest = line[1:].partition(" ")
        if name not in self._commands:
            raise UserError(f"/{name}: no such command; /help lists them")
        self._commands[name](rest.strip())

    def _show(self, answer: Iterator[str]) -> bool:
        """Write an answer as it comes and return whether it came to its end."""
        try:
            for piece in answer:
                self.out.write(harmless(piece))
                self.out.flush()
        except KeyboardInterrupt:
            # A second Ctrl-C while the model comes to a halt changes nothing.
            with suppress(KeyboardInterrupt):
                answer.close()  # type: ignore[attr-defined]
            self._note(" (stopped)")
            return False
        self.out.write("\n")
        self.out.flush()
        return True

    def _model(self, name: str) -> None:
        if not name:
            raise UserError(f"{self.conversation.model} answers; /model NAME lets another one")
        self.conversation.switch(name)
        if not self._interactive:
            self._note(f"{self.conversation.model} answers")

    def _models(self, _: str) -> None:
        talk = self.conversation
        self._note(" ".join(f"[{name}]" if name == talk.model else name for name in talk.policies))

    def _all(self, _: str) -> None:
        for name, answer in self.conversation.ask_all():
            self.out.write(f"[{name}] ")
            if not self._show(answer):
                return

    def _again(self, _: str) -> None:
        self._show(self.conversation.ask_again())

    def _reset(self, _: str) -> None:
        self.conversation.reset()
        self._note("the conversation is forgotten")

    def _system(self, text: str) -> None:
        if text:
            self.conversation.system = None if text == "-" else text
        self._note(f"system: {self.conversation.system or 'none'}")

    def _temperature(self, text: str) -> None:
        if text:
            self.conversation.heat(text)
        self._note(f"temperature: {self.conversation.sampling.temperature:g}")

    def _save(self, name: str) -> None:
        place = Path(name).expanduser()
        if not name:
            raise UserError("/save: name a file, /save FILE")
        if place.exists():
            raise UserError(f"/save {name}: exists already; name another file")
        try:
            write_text(place, self.conversation.as_json(self.run))
        except OSError as error:
            raise UserError(f"/save {name}: cannot be written ({error.strerror})") from None
        self._note(f"{place}: {len(self.conversation.turns)} messages")

    def _note(self, text: str) -> None:
        self.notes.write(harmless(text) + "\n")
        self.notes.flush()
