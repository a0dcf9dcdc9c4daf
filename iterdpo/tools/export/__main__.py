"""``python -m iterdpo.export RUN --out DIR``: a model of a run as a plain checkpoint.

Exit status: 0 done; 2 something the user can put right; 3 what was written is not the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from iterdpo.runs.directory import Run
from iterdpo.runtime.quiet import quiet_libraries
from iterdpo.runtime.terminal import run_tool
from iterdpo.tools.export.checkpoint import On, export


def main(argv: Sequence[str] | None = None) -> int:
    """Write a checkpoint, say what it is, and return the exit status."""
    arguments = parser().parse_args(argv)

    def act() -> None:
        run = Run.open(arguments.run)
        policy = run.policy(arguments.model or run.best)
        quiet_libraries()
        said = export(
            policy,
            arguments.out,
            on=arguments.on,
            dtype=arguments.dtype,
            trust_remote_code=run.values["model"]["trust_remote_code"],
        )
        chosen = "" if arguments.model else f"{_why(run)}\n"
        sys.stdout.write(f"{arguments.out}: {said}\n{chosen}")

    return run_tool("iterdpo.export", act)


def _why(run: Run) -> str:
    others = ", ".join(name for name in run.policies if name != run.best)
    said = f"{run.best} is the run's best model: {run.summary.best.why}"
    return said + (f" (--model takes another: {others})" if others else "")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.export",
        description="Write a model of a run as a checkpoint that transformers and vLLM load: the "
        "adapter merged into full weights, with tokenizer and chat template. A model whose every "
        "weight was trained is copied.",
        epilog="An adapter that was trained on a quantized base (nf4, int8) stands on other "
        "weights after --on original: those before quantization. The model is usually as good, but "
        "not the one that was measured; --on dequantized writes that one. The checkpoint is held "
        "against base and adapter before it gets its name; that takes 8 bytes of memory a "
        "parameter at most.",
    )
    made.add_argument("run", type=Path, metavar="RUN", help="a run's directory")
    made.add_argument("--model", metavar="NAME", help="such as M2 (default: the best)")
    made.add_argument("--out", type=Path, required=True, metavar="DIR",
                      help="where to; it must not exist")  # fmt: skip
    made.add_argument("--on", choices=get_args(On), default="original",
                      help="the weights to merge into (default: %(default)s)")  # fmt: skip
    made.add_argument("--dtype", choices=("float32", "bfloat16", "float16"),
                      help="type of the written weights (default: the run's)")  # fmt: skip
    return made


if __name__ == "__main__":
    sys.exit(main())
