"""When a server may be asked, and when again."""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0


def longest_wait(attempt: int) -> float:
    """Return the most seconds to wait before a further try, in [1, 60]: 1, 2, 4, ... 60.

    The wait itself is to be drawn between 0 and this, so that many that failed at one moment do
    not come back at one moment.

    Args:
        attempt: which further try this is, from 1.
    """
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1))


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, 0 or more; None without one.

    It holds seconds or a date (RFC 9110, section 10.2.3).

    Args:
        value: the header.
        now: seconds since the epoch.
    """
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value.strip()):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError, OSError):  # no date, or one beyond any calendar
        return None


@dataclass
class Pace:
    """Lets callers of many threads pass one by one: so many a minute, none while it is on hold."""

    per_minute: int | None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=0.0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def wait(self) -> None:
        """Return when it is this caller's turn."""
        with self._lock:
            now = self.clock()
            turn = max(now, self._next)
            self._next = turn + (60 / self.per_minute if self.per_minute else 0.0)
        if turn > now:
            self.sleep(turn - now)

    def hold(self, seconds: float) -> None:
        """Let nobody pass for so long."""
        with self._lock:
            self._next = max(self._next, self.clock() + seconds)
