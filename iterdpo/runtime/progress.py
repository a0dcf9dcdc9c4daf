"""Progress of long stages: a bar on a terminal, a rare line in a log, nothing when it is off."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Show = Callable[[int, int | None], None]

LOG_SECONDS = 60.0  # between two lines where there is no terminal


def progress(
    iterable: Iterable[Item],
    total: int | None,
    description: str,
    unit: str,
    quiet: bool = False,
) -> Iterator[Item]:
    """Yield the items and show how many of them are done.

    Args:
        iterable: The work; an item counts as done when the next one is asked for. Its errors come
            through, those of the display do not.
        total: How many items there are, if known.
        description: What is going on, such as ``M1 answers``.
        unit: What the items are, such as ``batches``.
        quiet: Show nothing. ``ITERDPO_PROGRESS=off`` in the environment does the same.
    """
    with Bar(description, unit, quiet) as bar:
        bar.update(0, total)
        for done, item in enumerate(iterable, start=1):
            yield item
            bar.update(done, total)


class Bar:
    """Shows how far a piece of work is, from ``with`` to its end. Never raises.

    Args:
        description: What is going on, such as ``M1 training``.
        unit: What is counted, such as ``steps``.
        quiet: Show nothing. ``ITERDPO_PROGRESS=off`` in the environment does the same.
    """

    def __init__(self, description: str, unit: str, quiet: bool = False) -> None:
        self._description, self._unit = description, unit
        off = quiet or os.environ.get("ITERDPO_PROGRESS", "").lower() == "off"
        self._show: Show | None = None
        self._close: Callable[[], None] | None = None
        if not off:
            self._show = self._first_on_terminal if _on_terminal() else self._line
        self._started = self._written = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._close is not None:
            with suppress(Exception):
                self._close()

    def update(self, done: int, total: int | None = None) -> None:
        """Show that ``done`` of ``total`` units are done; a display that fails is dropped."""
        if self._show is None:
            return
        try:
            self._show(done, total)
        except Exception as error:
            log.debug("%s: no progress is shown: %r", self._description, error)
            self._show = None

    def _first_on_terminal(self, done: int, total: int | None) -> None:
        from tqdm import tqdm

        bar = tqdm(
            desc=self._description, unit=f" {self._unit}", total=total, leave=False,
            dynamic_ncols=True,
        )  # fmt: skip
        self._close = bar.close

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        self._show = show
        show(done, total)

    def _line(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._written < LOG_SECONDS:
            return
        self._written = now
        of = "" if total is None else f" of {total}"
        log.info(
            "%s: %d%s %s, %.0f s", self._description, done, of, self._unit, now - self._started
        )


def _on_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is no stderr, or it is closed
        return False
