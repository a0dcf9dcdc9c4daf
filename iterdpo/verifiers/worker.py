"""The process that ``verifiers.process`` starts: scores answers until its pipe is closed."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from multiprocessing.connection import Connection

from iterdpo.errors import described
from iterdpo.records import Prompt
from iterdpo.verifiers.base import Failure, Verifier


def main(descriptor: int, limit: float) -> None:
    """Answer on a socket: first whether the verifier is there, then a score a question.

    Args:
        descriptor: of the socket; what comes through it is the parent's own.
        limit: seconds after which a question ends this process, should the parent be gone.
    """
    pipe = Connection(descriptor)
    try:
        _import(*pipe.recv())
        verifier: Verifier = pipe.recv()
    except Exception as error:  # whatever the module or the class raises is told to the parent
        pipe.send(described(error))
        return
    pipe.send(None)
    try:
        while True:
            question = pipe.recv()
            # Nothing handles the alarm, so that it ends the process whatever it computes.
            signal.setitimer(signal.ITIMER_REAL, limit)
            answer = _answer(verifier, *question)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send(answer)
    except EOFError:
        return  # nobody asks any more


def _answer(verifier: Verifier, prompt: Prompt, response: str) -> tuple[bool, object]:
    try:
        if not verifier.knows(prompt):
            return False, None
        score: object = verifier.score(prompt, response)
        # numpy's numbers and booleans are numbers; anything else is shown by the parent.
        return True, score if isinstance(score, int | float | str | None) else float(score)  # type: ignore[arg-type]
    except Exception as error:  # told to the parent, which keeps it as the reason
        module = sys.modules.get(type(verifier).__module__)
        said = described(error, getattr(module, "__file__", None))
        return True, Failure(said, isinstance(error, TimeoutError))


def _import(name: str, file: str | None) -> None:
    """Import the verifier's module, by its file where it is in no place that Python looks."""
    if name == "__main__":  # would run the whole script again
        raise ImportError("it stands in the script itself")
    spec = importlib.util.find_spec(name)
    if spec is not None and file in (None, spec.origin):
        importlib.import_module(name)
        return
    spec = importlib.util.spec_from_file_location(name, file) if file else None
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no module {name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
