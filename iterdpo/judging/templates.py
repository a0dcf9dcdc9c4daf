"""Jinja templates that ask for a judgment: packaged ones and a user's own, checked when loaded.

What a model wrote enters as a value and is put into the text once, so template syntax in it stays
plain text.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from iterdpo.data.content import read_text
from iterdpo.errors import UserError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import jinja2


@dataclass(frozen=True)
class Template:
    """What the kinds of rubrics have in common. A subclass says what it knows and needs."""

    name: str
    """A packaged rubric's name, or the path as the user gave it."""
    source: str = field(repr=False)
    key: str = "judge.rubric"
    """The setting that named it, for messages."""

    kind: ClassVar[str]
    """For messages: ``a rubric``."""
    folder: ClassVar[str]
    """Where the packaged ones lie."""
    variables: ClassVar[Sequence[str]]
    """What a template may use."""
    needed: ClassVar[Sequence[str]]
    """What it must use."""
    trials: ClassVar[Sequence[Mapping[str, object]]]
    """Values that a user's template must render."""

    @classmethod
    def load(cls, name_or_path: str, key: str | None = None) -> Self:
        """Return a packaged rubric, or the one in a user's own file.

        Args:
            name_or_path: a packaged one's name, or a file's path.
            key: the setting that named it, for messages; None for the usual one.

        Raises:
            UserError: there is none, it cannot be read, or it is not a template that renders and
                shows what is to be judged; the text names the line where one is known.
        """
        key = key or cls.key
        packaged = cls._packaged()
        if name_or_path in packaged:
            return cls(name_or_path, packaged[name_or_path].read_text(encoding="utf-8"), key)
        place = f"{key}={name_or_path}"
        try:
            source = read_text(Path(name_or_path).expanduser())
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{place}: no such rubric; give one of {', '.join(sorted(packaged))} or the path "
                "of a Jinja file"
            ) from None
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{place}: cannot be read: {_one_line(error)}") from None
        rubric = cls(name_or_path, source, key)
        rubric._check()
        return rubric

    @property
    def sha256(self) -> str:
        """64 hex digits: the hash of the template's text in UTF-8."""
        return hashlib.sha256(self.source.encode("utf-8")).hexdigest()

    def _render(self, **values: Any) -> str:
        import jinja2

        try:
            return self._template.render(**values)
        except jinja2.TemplateError as error:
            raise UserError(f"{self._place}: {_one_line(error)}") from None

    @property
    def _place(self) -> str:
        return f"{self.key}={self.name}"

    @cached_property
    def _template(self) -> jinja2.Template:
        return _environment().from_string(self.source)

    def _check(self) -> None:
        """Raise ``UserError`` where a user's template could not serve as a rubric."""
        import jinja2
        from jinja2 import meta

        try:
            used = meta.find_undeclared_variables(_environment().parse(self.source))
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"{self._place}: line {error.lineno}: {_one_line(error)}") from None
        if unknown := sorted(used - set(self.variables)):
            raise UserError(
                f"{self._place}: uses {', '.join(unknown)}; {self.kind} knows "
                f"{', '.join(self.variables)}"
            )
        if missing := [name for name in self.needed if name not in used]:
            raise UserError(
                f"{self._place}: never uses {', '.join(missing)}, so it would judge nothing"
            )
        for values in self.trials:
            try:
                self._render(**values)
            except UserError:
                raise
            # The template is the user's program, and anything may go wrong in it.
            except Exception as error:
                raise UserError(f"{self._place}: {_one_line(error)}") from None

    @classmethod
    def _packaged(cls) -> dict[str, Traversable]:
        folder = importlib.resources.files("iterdpo.judging").joinpath(cls.folder)
        files = [item for item in folder.iterdir() if item.name.endswith(".jinja")]
        return {item.name.removesuffix(".jinja"): item for item in files}


def _environment() -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # The text goes to a model, not to a browser: escaping would change what is judged.
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
