"""Rubrics for judges of pairs: Jinja templates that ask which of two responses is better.

A rubric sees the variables ``prompt``, ``first`` and ``second``, and asks for the digit 1 or 2.
What a model wrote enters as a value and is put into the text once, so template syntax in it stays
plain text.
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
    import jinja2

VARIABLES: Final = ("prompt", "first", "second")
"""What a rubric's template may and must use."""


@dataclass(frozen=True)
class PairwiseRubric:
    """A template that has been checked. Use ``PairwiseRubric.load``."""

    name: str
    """A packaged rubric's name, or the path as the user gave it."""
    source: str = field(repr=False)
    key: str = "evaluation.arbiter_rubric"
    """The setting that named it, for messages."""

    @classmethod
    def load(cls, name_or_path: str, key: str = "evaluation.arbiter_rubric") -> PairwiseRubric:
        """Return a packaged rubric, or the one in a user's own file.

        Args:
            name_or_path: such as ``better``, or a file's path.
            key: the setting that named it, for messages.

        Raises:
            UserError: there is none, it cannot be read, or it is not a template that shows the
                prompt and both responses.
        """
        folder = importlib.resources.files("iterdpo.judging") / "rubrics" / "pairwise"
        packaged = {
            item.name.removesuffix(".jinja"): item
            for item in folder.iterdir()
            if item.name.endswith(".jinja")
        }
        if name_or_path in packaged:
            return cls(name_or_path, packaged[name_or_path].read_text(encoding="utf-8"), key)
        place = f"{key}={name_or_path}"
        try:
            source = Path(name_or_path).expanduser().read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{place}: no such rubric; give one of {', '.join(sorted(packaged))} or the path "
                "of a Jinja file"
            ) from None
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{place}: cannot be read: {_one_line(error)}") from None
        rubric = cls(name_or_path, source, key)
        rubric._check(place)
        return rubric

    @property
    def sha256(self) -> str:
        """64 hex digits: the hash of the template's text in UTF-8."""
        return hashlib.sha256(self.source.encode("utf-8")).hexdigest()

    def render(self, prompt: str, first: str, second: str) -> str:
        """Return the text that asks a judge which of the two responses is better.

        Raises:
            UserError: the template fails on these values.
        """
        import jinja2

        try:
            return self._template.render(prompt=prompt, first=first, second=second)
        except jinja2.TemplateError as error:
            raise UserError(f"{self.key}={self.name}: {_one_line(error)}") from None

    @cached_property
    def _template(self) -> jinja2.Template:
        return _environment().from_string(self.source)

    def _check(self, place: str) -> None:
        """Raise ``UserError`` where a user's template could not serve as a rubric."""
        import jinja2
        from jinja2 import meta

        try:
            used = meta.find_undeclared_variables(_environment().parse(self.source))
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"{place}: line {error.lineno}: {_one_line(error)}") from None
        if unknown := sorted(used - set(VARIABLES)):
            raise UserError(
                f"{place}: uses {', '.join(unknown)}; a pairwise rubric knows "
                f"{', '.join(VARIABLES)}"
            )
        if missing := [name for name in VARIABLES if name not in used]:
            raise UserError(f"{place}: never uses {', '.join(missing)}, so it would judge nothing")
        try:
            self.render("a prompt", "one response", "another")
        except UserError:
            raise
        # The template is the user's program, and anything may go wrong in it.
        except Exception as error:
            raise UserError(f"{place}: {_one_line(error)}") from None


def _environment() -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # The text goes to a model, not to a browser: escaping would change what is judged.
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
