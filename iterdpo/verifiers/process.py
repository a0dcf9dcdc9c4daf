"""A verifier in a process of its own, so that whatever it does can be stopped.

A regular expression or a loop that never ends holds Python's interpreter; a thread would not stop
it, and a signal reaches only the main thread. A process can be killed. It is started at the first
question and asked one after the other; one that is killed or dies is started anew for the next.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from numbers import Real
from typing import Any, Final

from iterdpo.data.values import excerpt
from iterdpo.errors import UserError
from iterdpo.records import Prompt, Scored, Unscored, UnscoredReason, Verdict
from iterdpo.verifiers.base import Failure, Verifier

_START_SECONDS: Final = 60.0
"""How long a process may take to import what the verifier's module imports."""
_GRACE_SECONDS: Final = 5.0
"""After its time, a process that nobody ended, as the run was killed, ends by itself."""


@dataclass
class VerifierProcess:
    """Asks a verifier with a time limit."""

    verifier: Verifier
    seconds: float
    """The longest that one answer may take."""
    key: str = "judge.verifier"
    """The setting that named it, for messages."""

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Any = None

    def verdict(self, prompt: Prompt, response: str) -> Verdict:
        """Return the score of an answer, or why there is none.

        Raises:
            UserError: the class cannot be made in another process.
        """
        if self._process is None:
            self._start()
        try:
            self._pipe.send((prompt, response))
            answered = self._pipe.poll(self.seconds)
            known, value = self._pipe.recv() if answered else (True, None)
        except (EOFError, OSError):
            said = f"its process ended with {_ending(self.close())}"
            return Unscored(UnscoredReason.FAILED, said)
        if not answered:
            self.close()
            said = f"took more than {self.seconds:g} seconds"
            return Unscored(UnscoredReason.TIMED_OUT, said)
        if not known:
            return Unscored(UnscoredReason.NO_VERDICT, "does not know this prompt")
        return self._read(value)

    def close(self) -> int | None:
        """End the process, if there is one, and return its exit status."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        self._pipe.close()
        # One that died by itself keeps its own status; a moment is enough for it to be known.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
        process.kill()
        return process.wait()

    def _read(self, value: object) -> Verdict:
        if isinstance(value, Failure):
            reason = UnscoredReason.TIMED_OUT if value.timed_out else UnscoredReason.FAILED
            return Unscored(reason, value.said)
        score = float(value) if isinstance(value, Real) else math.nan
        if not 0 <= score <= self.verifier.perfect:
            said = f"{excerpt(value)} is no score from 0 to {self.verifier.perfect:g}"
            return Unscored(UnscoredReason.FAILED, said)
        return Scored(score)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        limit = str(self.seconds + _GRACE_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "iterdpo.verifiers.worker", str(theirs.fileno()), limit],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the run's, which stops when its shard is done
            )
        self._pipe = Connection(ours.detach())
        module = sys.modules[type(self.verifier).__module__]
        file = getattr(module, "__file__", None)
        said: str | None = "its process did not start"
        try:
            self._pipe.send((module.__name__, file))
            self._pipe.send(self.verifier)
            if self._pipe.poll(_START_SECONDS):
                said = self._pipe.recv()
        except (EOFError, OSError):
            said = f"its process ended with {_ending(self.close())}"
        except Exception as error:  # a class that cannot be pickled may raise anything
            said = " ".join(f"{error}".split())
        if said is not None:
            self.close()
            raise UserError(
                f"{self.key}: {type(self.verifier).__name__} cannot be made in a process of its "
                f"own ({said}); put the class at the top of a file that can be imported"
            )


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return signal.Signals(-status).name
    return f"status {status}"
