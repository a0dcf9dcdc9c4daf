"""What every process of vLLM does that holds a model: live as long as the run, and no less.

vLLM's processes outlive a run that is killed and keep its card, and each answers a terminal's
Ctrl-C, which is meant for the run alone, by ending before the run has what it waits for.
"""

from __future__ import annotations

import os
import signal
import threading
import time

RUN = "ITERDPO_RUN"
"""Holds the run's process id in the environment of what it starts."""
_POLL_SECONDS = 1.0


class BoundToRun:
    """A mixin for vLLM's worker (``worker_extension_cls``), which holds the weights.

    On one GPU the worker is vLLM's engine process itself, on several a child of it. That vLLM adds
    the class behind the worker's own bases, and nothing of them defines ``__new__``, makes this the
    first code of a worker: it runs before the minutes in which weights are loaded.
    """

    def __new__(cls, *_: object, **__: object) -> BoundToRun:
        """Bind the process to the run, unless it is the run's own."""
        run = int(os.environ[RUN])
        if run != os.getpid():
            bind(run)
        return super().__new__(cls)


def bind(run: int) -> None:
    """Leave Ctrl-C to the run, an ancestor, and end with it, however it ends.

    A parent-death signal of the kernel (``PR_SET_PDEATHSIG``) would not do: it tells of the end of
    the thread that started the process, and of a parent, where this is the run's grandchild.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() != run:
        # The engine process ends its workers by closing a pipe, so a SIGTERM is one to all of the
        # job's processes. The engine process itself needs it, and finishes its requests first.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(run,), daemon=True, name="bound-to-run").start()


def _end_with(run: int) -> None:
    while _is_ancestor(run):
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _is_ancestor(run: int) -> bool:
    """Say whether ``run`` is one: when a process ends, another takes its children over."""
    import psutil

    return any(process.pid == run for process in psutil.Process().parents())
