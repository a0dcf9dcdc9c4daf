"""How a run hears that vLLM's engine process has ended, and says it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from iterdpo.errors import EngineDiedError


def wake_at_death(client: Any) -> None:
    """Let whoever waits for an answer of vLLM's engine process hear that none will come.

    vLLM watches the process too. But of one that is killed, as the kernel does for want of memory,
    or that ends itself after a signal, it tells only who asks next, and not who waits already.

    Args:
        client: vLLM's ``engine_core``; where it holds the model itself, there is nothing to do.
    """
    reader = getattr(client, "output_queue_thread", None)
    if reader is not None:
        waiting = (reader, client.outputs_queue, client.utility_results)
        threading.Thread(target=_wake, args=waiting, daemon=True, name="engine-death").start()


def _wake(reader: threading.Thread, outputs: Any, calls: dict[int, Any]) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    reader.join()  # it reads all answers, and vLLM ends it when the process has ended
    outputs.put(EngineDeadError())
    for call in list(calls.values()):
        call.set_exception(EngineDeadError())


@contextmanager
def death_named(client: Any) -> Iterator[None]:
    """Raise ``EngineDiedError`` where the process ends while the block needs it."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        ended = client.resources.engine_manager.finished_procs()
        codes = " and ".join(f" with exit status {code}" for code in ended.values())
        raise EngineDiedError(
            f"engine=vllm: vLLM's engine process ended{codes} while it was needed; it says why "
            "above, or, where it was killed (-9), the kernel's log does (dmesg): for want of "
            "memory, set engine.residency=restart or a smaller engine.vllm.max_sequences; what is "
            "finished is kept, run the same command again to resume"
        ) from error


def require_not_taken_back(output: Any) -> None:
    """Raise ``EngineDiedError`` where vLLM gave up a request: its process was told to end."""
    if any(answer.finish_reason == "abort" for answer in output.outputs):
        raise EngineDiedError(
            "engine=vllm: vLLM's engine process was told to end, and took back what it was asked; "
            "what is finished is kept, run the same command again to resume"
        )
