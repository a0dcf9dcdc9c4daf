"""Answers in memory, packed and as tuples: ``python -m experiments.bench_records``.

The tuples are those that PyArrow's own ``to_pylist`` leads to. Seconds are of the CPU, and the two
sides take turns. The result replaces the marked part of ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from experiments.page import replaced
from iterdpo.records import Candidate, FinishReason
from iterdpo.store.packed import packed_floats, packed_ids
from iterdpo.store.tables import read_records, write_records

BEGIN, END = "<!-- bench-records: begin -->", "<!-- bench-records: end -->"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
VOCABULARY = 128_256
NUMBERS = ("prompt_token_ids", "token_ids", "logprobs")


@dataclass(frozen=True)
class Memory:
    """Bytes that a call took."""

    held: int
    """By what it returned."""
    peak: int
    """At the most: by Python and, at any time of the call, by Arrow."""

    @classmethod
    def of(cls, call: Callable[[], object]) -> Memory:
        """Measure ``call``."""
        usual = pyarrow.default_memory_pool()
        pool = pyarrow.proxy_memory_pool(usual)
        pyarrow.set_memory_pool(pool)
        tracemalloc.start()
        try:
            kept = call()
            held, peak = tracemalloc.get_traced_memory()
            del kept
        finally:
            tracemalloc.stop()
            pyarrow.set_memory_pool(usual)
        return cls(held, peak + pool.max_memory())


def answers(number: int, tokens: int, prompt_tokens: int) -> list[Candidate]:
    """Return random answers, packed, four to a prompt."""
    rng = random.Random(0)
    made = []
    for index in range(number):
        if index % 4 == 0:
            prompt = packed_ids(rng.choices(range(VOCABULARY), k=prompt_tokens))
        made.append(
            Candidate(
                id=f"{index:016x}",
                prompt_id=f"{index // 4:016x}",
                index=index % 4,
                text=rng.randbytes(2 * tokens).hex(),  # four letters a token
                prompt_token_ids=prompt,
                token_ids=packed_ids(rng.choices(range(VOCABULARY), k=tokens)),
                logprobs=packed_floats(-rng.expovariate(2) for _ in range(tokens)),
                finish_reason=FinishReason.STOP,
                policy="0" * 16,
                seed=index,
            )
        )
    return made


def read_as_tuples(path: Path) -> list[Candidate]:
    """Read answers by way of Python's lists, the whole table at once."""
    rows = pyarrow.parquet.read_table(path).to_pylist()
    return [Candidate(**row | {name: tuple(row[name]) for name in NUMBERS}) for row in rows]


def as_tuples(one: Candidate) -> Candidate:
    """Return an answer whose numbers are plain tuples."""
    numbers: dict[str, Any] = {name: tuple(getattr(one, name)) for name in NUMBERS}
    return replace(one, **numbers)


def measure(path: Path, made: list[Candidate], rounds: int) -> list[str]:
    """Write and read ``made`` both ways; return the table's lines."""
    unpacked = [as_tuples(one) for one in made]

    def write(records: list[Candidate]) -> Callable[[], object]:
        return lambda: write_records(path, Candidate, records)

    write(unpacked)()
    before = path.read_bytes()
    write(made)()
    if path.read_bytes() != before:
        raise RuntimeError("packed and unpacked answers do not make the same file")
    ways = (lambda: read_as_tuples(path), lambda: read_records(path, Candidate))
    tuples, packed = (Memory.of(way) for way in ways)
    tokens = sum(len(one.token_ids) for one in made)
    return [
        _line("bytes a token, held", tuples.held / tokens, packed.held / tokens),
        _line("bytes a token, most while reading", tuples.peak / tokens, packed.peak / tokens),
        f"| seconds to read | 1 | {_ratio(*ways, rounds)} |",
        f"| seconds to write | 1 | {_ratio(write(unpacked), write(made), rounds)} |",
    ]


def report(options: argparse.Namespace) -> str:
    """Measure and return the text."""
    made = answers(options.answers, options.tokens, options.prompt_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        lines = measure(Path(scratch) / "records.parquet", made, options.rounds)
    return "\n".join(
        [
            f"`python -m experiments.bench_records` on {platform.machine()}, Python "
            f"{platform.python_version()}, PyArrow {pyarrow.__version__}: {options.answers:,} "
            f"answers of {options.tokens:,} tokens with their log-probs and texts, to prompts of "
            f"{options.prompt_tokens}; seconds of the CPU as a share of the first way's, median "
            f"(range) of {options.rounds} paired turns.",
            "",
            "| | as tuples | packed |",
            "|---|---|---|",
            *lines,
        ]
    )


def _line(what: str, first: float, second: float) -> str:
    return f"| {what} | {first:.0f} | {second:.0f} |"


def _ratio(first: Callable[[], object], second: Callable[[], object], rounds: int) -> str:
    ratios = sorted(_seconds(second) / _seconds(first) for _ in range(rounds))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f})"


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--answers", type=int, default=4000, help="(%(default)s)")
    parser.add_argument("--tokens", type=int, default=1000, help="of an answer (%(default)s)")
    parser.add_argument("--prompt-tokens", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="paired turns (%(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write (%(default)s)")
    options = parser.parse_args()
    text = report(options)
    print(text)
    options.page.write_text(replaced(options.page.read_text("utf-8"), text, BEGIN, END), "utf-8")


if __name__ == "__main__":
    main()
