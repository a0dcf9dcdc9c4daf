"""Rubrics: Jinja templates that ask for a judgment of one response to one prompt.

A rubric sees the variables ``prompt``, ``response``, ``reasons`` (whether to ask for a verdict with
its reasons or for the score alone), ``low`` and ``high``. What a model wrote enters as a value and
is put into the text once, so template syntax in it stays plain text.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iterdpo.errors import UserError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import jinja2

VARIABLES: Final = ("prompt", "response", "reasons", "low", "high")
"""What a rubric's template may use."""


@dataclass(frozen=True)
class Rubric:
    """A template that has been checked. Use ``Rubric.load``."""

    name: str
    """A packaged rubric's name, or the path as the user gave it."""
    source: str = field(repr=False)

    @classmethod
    def load(cls, name_or_path: str) -> Rubric:
        """Return a packaged rubric, or the one in a user's own file.

        Raises:
            UserError: there is none, it cannot be read, or it is not a template that renders; the
                text names the line where one is known.
        """
        packaged = _packaged()
        if name_or_path in packaged:
            return cls(name_or_path, packaged[name_or_path].read_text(encoding="utf-8"))
        try:
            source = Path(name_or_path).expanduser().read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"judge.rubric={name_or_path}: no such rubric; give one of "
                f"{', '.join(sorted(packaged))} or the path of a Jinja file"
            ) from None
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"judge.rubric={name_or_path}: cannot be read: {error}") from None
        rubric = cls(name_or_path, source)
        rubric._check()
        return rubric

    @property
    def sha256(self) -> str:
        """64 hex digits: the hash of the template's text in UTF-8."""
        return hashlib.sha256(self.source.encode("utf-8")).hexdigest()

    def render(
        self, prompt: str, response: str, *, reasons: bool, low: int = 0, high: int = 5
    ) -> str:
        """Return the text that asks a judge about ``response``, scored from ``low`` to ``high``.

        Raises:
            UserError: the template fails on these values.
        """
        import jinja2

        try:
            return self._template.render(
                prompt=prompt, response=response, reasons=reasons, low=low, high=high
            )
        except jinja2.TemplateError as error:
            raise UserError(f"judge.rubric={self.name}: {_one_line(error)}") from None

    @cached_property
    def _template(self) -> jinja2.Template:
        return _environment().from_string(self.source)

    def _check(self) -> None:
        """Raise ``UserError`` where a user's template could not serve as a rubric."""
        import jinja2
        from jinja2 import meta

        place = f"judge.rubric={self.name}"
        try:
            used = meta.find_undeclared_variables(_environment().parse(self.source))
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"{place}: line {error.lineno}: {_one_line(error)}") from None
        if unknown := sorted(used - set(VARIABLES)):
            raise UserError(
                f"{place}: uses {', '.join(unknown)}; a rubric knows {', '.join(VARIABLES)}"
            )
        if "response" not in used:
            raise UserError(f"{place}: never uses response, so it would judge nothing")
        for reasons in (True, False):
            try:
                self.render("a prompt", "a response", reasons=reasons)
            except UserError:
                raise
            # The template is the user's program, and anything may go wrong in it.
            except Exception as error:
                raise UserError(f"{place}: {_one_line(error)}") from None


def _packaged() -> dict[str, Traversable]:
    folder = importlib.resources.files("iterdpo.judging") / "rubrics"
    files = [item for item in folder.iterdir() if item.name.endswith(".jinja")]
    return {item.name.removesuffix(".jinja"): item for item in files}


def _environment() -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # The text goes to a model, not to a browser: escaping would change what is judged.
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
