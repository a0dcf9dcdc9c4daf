"""What to try first on a GPU, the most telling first, within ten minutes: ``make gpu-check``.

Each step is a command of its own with a limit of its own, and its outcome is printed and saved
before the next begins: what is known when the time is up is kept. A step that runs out of time is
ended with all that it started. Without a CUDA device this refuses; ``ITERDPO_REHEARSE_GPU=1`` goes
through the steps on a CPU as far as a CPU can.

    make gpu-check                            into gpu-check/
    make gpu-check ARGS="--minutes 8 --out $OUT"
    make gpu-check ARGS="--only loop canary"  these steps alone
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["passed", "failed", "skipped", "out of time"]

REHEARSE = "ITERDPO_REHEARSE_GPU"

NO_TESTS_RUN = 5
"""Status of pytest where nothing ran; with ``-k`` and skips it is told apart by its last line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command."""

    name: str
    asks: str
    """The question that it answers."""
    arguments: tuple[str, ...]
    """Of ``python``."""
    limit: float
    """Seconds at the most."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a step ended."""

    name: str
    outcome: Outcome
    seconds: float
    said: str
    """The last line of its output."""

    @property
    def line(self) -> str:
        return f"{self.name}: {self.outcome} in {self.seconds:.0f} s, {self.said}"


def _tests(name: str, asks: str, limit: float, *tests: str) -> Step:
    places = tuple(f"tests/gpu/{test}" for test in tests)
    return Step(name, asks, ("-m", "pytest", "-q", "-rs", "-s", "-p", "no:xdist", *places), limit)


def _bench(name: str, asks: str, limit: float, engine: str) -> Step:
    sizes = ("--prompts", "8", "--tokens", "256", "--verdict-tokens", "32")
    arguments = ("-m", "experiments.bench_gpu", "--engine", engine, *sizes)
    return Step(name, asks, arguments, limit)


STEPS = (
    _tests("loop", "does NF4 train with TRL on the seed model, with its proofs?", 90,
           "test_loop.py::test_the_lab[transformers-bfloat16]"),
    _tests("vllm", "does vLLM write, judge and take each new adapter?", 150,
           "test_loop.py::test_the_lab[vllm-bfloat16]"),
    _tests("canary", "is a right adapter told from none and from the last one?", 90,
           "test_canary.py"),
    _tests("attention", "are gradients finite where cuDNN's are not?", 40, "test_attention.py"),
    _tests("sleep", "does vLLM give its memory back, and wake as the same model?", 120,
           "test_residency.py::test_memory_is_given_back_and_the_answers_stay[sleep]",
           "test_residency.py::test_an_adapter_that_is_lost_while_asleep_is_caught[sleep]"),
    _tests("stops", "does Ctrl-C keep what is done, and a killed run free the card?", 120,
           "test_stopping.py::test_ctrl_c_in_a_part_finishes_it_and_stops",
           "test_stopping.py::test_a_run_that_is_killed_frees_the_card"),
    _tests("memory", "do the steps of a training take what was estimated?", 60,
           "test_memory.py::test_the_steps_take_what_was_estimated"),
    _bench("8b-transformers", "how long does each stage of an 8B take in transformers?", 150,
           "transformers"),
    _bench("8b-vllm", "how long does each stage of an 8B take in vLLM?", 180, "vllm"),
)  # fmt: skip


def run(step: Step, out: Path, limit: float) -> Done:
    """Run a step for ``limit`` seconds at the most, its output in ``out``/NAME.log."""
    log = out / f"{step.name}.log"
    arguments = [sys.executable, *step.arguments]
    if step.arguments[1] == "experiments.bench_gpu":
        arguments += ["--json", str(out / f"{step.name}.json"), "--page", os.devnull]
        if os.environ.get(REHEARSE):
            arguments += ["--device", "cpu", "--shape", "tiny", "--prompts", "2", "--tokens", "8"]
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        child = subprocess.Popen(
            arguments, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status: int | None = child.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            # Whatever it left behind, an engine's process too, would hold the card.
            _end_group(child.pid)
            child.wait()
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    said = lines[-1].strip("= ") if lines else "it wrote nothing"
    return Done(step.name, outcome_of(status, said), time.monotonic() - began, said)


def _end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def outcome_of(status: int | None, said: str) -> Outcome:
    """Return what a status, None where time ran out, and pytest's last line say."""
    if status is None:
        return "out of time"
    if status not in (0, NO_TESTS_RUN):
        return "failed"
    skipped = re.search(r"\bskipped\b", said) and not re.search(r"\bpassed\b", said)
    return "skipped" if skipped or status == NO_TESTS_RUN else "passed"


def check(steps: Sequence[Step], out: Path, seconds: float) -> Iterator[Done]:
    """Run ``steps`` in order until ``seconds`` are over, and save each outcome as it comes."""
    out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    with (out / "steps.jsonl").open("w", encoding="utf-8") as file:
        for step in steps:
            left = until - time.monotonic()
            if left <= 0:
                done = Done(step.name, "out of time", 0.0, "not begun")
            else:
                done = run(step, out, min(step.limit, left))
            file.write(json.dumps(asdict(done)) + "\n")
            file.flush()
            yield done


def main(arguments: Sequence[str]) -> int:
    """Run the steps; return 0 where none failed or ran out of time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="in all (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], metavar="STEP")
    options = parser.parse_args(arguments)
    import torch

    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    elif not os.environ.get(REHEARSE):
        said = f"gpu-check: no CUDA device is there; {REHEARSE}=1 rehearses on the CPU"
        print(said, file=sys.stderr)
        return 2
    steps = [step for step in STEPS if options.only is None or step.name in options.only]
    asked = {step.name: step.asks for step in steps}
    all_done = []
    for done in check(steps, options.out, options.minutes * 60):
        print(f"{asked[done.name]}\n  {done.line}", flush=True)
        all_done.append(done)
    print(f"outputs: {options.out}")
    return int(any(done.outcome in ("failed", "out of time") for done in all_done))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
