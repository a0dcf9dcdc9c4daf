"""What the tools after a run do alike at the terminal: errors of one line, text that is harmless.

Exit status: 0 done; 1 a bug; 2 something the user can put right; 3 a run-time check failed;
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import logging
import os
import sys
import unicodedata
from collections.abc import Callable

from iterdpo.errors import LineageError, UserError

_KEPT = frozenset("\n\t")
_TURNS_TEXT_AROUND = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def run_tool(name: str, action: Callable[[], int | None]) -> int:
    """Run a tool and return its exit status; what a user can put right is one line.

    Args:
        name: what the line begins with, such as ``iterdpo.compare``.
        action: does everything, writes its result to stdout, and returns a status other than 0
            where its work found something wrong.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("iterdpo").setLevel(logging.INFO)
    # A terminal that lacks a letter is shown its number.
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        status = action() or 0
        sys.stdout.flush()
    except (UserError, LineageError) as error:
        sys.stderr.write(f"{name}: {harmless(' '.join(str(error).splitlines()))}\n")
        return 3 if isinstance(error, LineageError) else 2
    except BrokenPipeError:
        let_go_of_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    return status


def let_go_of_stdout() -> None:
    """Write what is left for stdout nowhere: whoever reads it, as ``head``, has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
