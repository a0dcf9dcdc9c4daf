"""What all commands do alike at the terminal: errors of one line, text that is harmless.

Exit status: 0 done; 1 a bug; 2 something the user can put right; 3 a run-time check failed;
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from iterdpo.errors import LineageError, UserError

if TYPE_CHECKING:
    from rich.console import Console

FULL = (errno.ENOSPC, errno.EDQUOT)

_KEPT = frozenset("\n\t")
_TURNS_TEXT_AROUND = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def run_tool(name: str, action: Callable[[], int | None]) -> int:
    """Run a tool and return its exit status; what a user can put right is one line.

    Args:
        name: what the line begins with, such as ``iterdpo.compare``.
        action: does everything, writes its result to stdout, and returns a status other than 0
            where its work found something wrong.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(HarmlessFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("iterdpo").setLevel(logging.INFO)
    spell_what_stdout_lacks()
    try:
        require_working_directory()
        status = action() or 0
        sys.stdout.flush()
    except (UserError, LineageError) as error:
        say(f"{name}: {' '.join(str(error).splitlines())}")
        return 3 if isinstance(error, LineageError) else 2
    except BrokenPipeError:
        let_go_of_stdout()
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        say(f"{name}: what it writes has no room ({error.strerror}); make some and run it again")
        let_go_of_stdout()
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def require_working_directory() -> None:
    """Raise ``UserError`` where the directory that the command was started in is gone."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the working directory is gone; change to another one (cd)") from None


def spell_what_stdout_lacks() -> None:
    """Let a terminal that lacks a letter be shown its number, as stderr does by itself."""
    getattr(sys.stdout, "reconfigure", lambda **_: None)(errors="backslashreplace")


def say(text: str) -> None:
    """Write a line to stderr; a stderr that takes none ends nothing."""
    with suppress(OSError, AttributeError, ValueError):  # full; not there; closed
        sys.stderr.write(f"{harmless(text)}\n")


def console(columns: int, soft_wrap: bool = False) -> Console:
    """Return what prints to stdout: texts of others hold no markup, emoji or numbers to color.

    Args:
        columns: of text where there is no terminal to ask.
        soft_wrap: leave it to the terminal to break lines.
    """
    from rich.console import Console

    spell_what_stdout_lacks()
    width = None if sys.stdout.isatty() else columns
    return Console(width=width, markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap)


def let_go_of_stdout() -> None:
    """Write what is left for stdout nowhere: whoever reads it, as ``head``, has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class HarmlessFormatter(logging.Formatter):
    """Formats a record, whosever text it holds, as what a terminal may be shown."""

    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))


class LogFile(logging.FileHandler):
    """A log that ends where its file takes no more, and says so once: no reason to end a run."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename, encoding="utf-8", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it cannot be opened
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        say(f"{self.baseFilename}: cannot be written to ({sys.exception()}); it ends here")
        logging.getLogger().removeHandler(self)


def harmless(text: str) -> str:
    """Return ``text`` with everything escaped that a terminal would act upon.

    Those are control characters but line feed and tab, the separators that Unicode breaks lines at,
    and the marks that turn the text around them; joiners and other invisible letters stay, since
    scripts and emoji need them.
    """
    return "".join(_escaped(letter) if _acts(letter) else letter for letter in text)


def _acts(letter: str) -> bool:
    if letter in _KEPT:
        return False
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _TURNS_TEXT_AROUND


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
