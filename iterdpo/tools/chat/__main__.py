"""``python -m iterdpo.chat RUN``: talk to M0, M1, ... of a run, and switch between them."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from iterdpo.runtime.terminal import run_tool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit status."""
    arguments = parser().parse_args(argv)
    return run_tool("iterdpo.chat", lambda: _run(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m iterdpo.chat",
        description="Talk to a model of a run. /help lists what can be done on the way.",
    )
    made.add_argument("run", type=Path, metavar="RUN", help="the run's directory")
    made.add_argument("--model", metavar="M", help="who answers, such as M2 (default: the best)")
    made.add_argument("--system", metavar="TEXT", help="system message (default: the run's own)")
    made.add_argument("--temperature", metavar="T", help="0 is greedy (default: the run's own)")
    made.add_argument("--max-tokens", type=int, metavar="N",
                      help="longest answer (default: the run's own)")  # fmt: skip
    made.add_argument("--device", metavar="D", help="auto, cpu or cuda (default: the run's own)")
    return made


def _run(arguments: argparse.Namespace) -> None:
    from iterdpo.engines.transformers import TransformersSettings
    from iterdpo.errors import UserError
    from iterdpo.runs.directory import Run
    from iterdpo.runtime.quiet import quiet_libraries
    from iterdpo.tools.chat.conversation import Conversation
    from iterdpo.tools.chat.shell import ChatShell
    from iterdpo.tools.chat.talker import StreamingEngine
    from iterdpo.tools.compare.answers import model_of, sampling_of

    run = Run.open(arguments.run)
    config = run.config
    if arguments.max_tokens is not None and arguments.max_tokens < 1:
        raise UserError(f"--max-tokens={arguments.max_tokens}: must be at least 1")
    policies = dict(run.policies)
    sampling = sampling_of(run, greedy=False, temperature=None, seed=None)
    quiet_libraries()
    device = arguments.device or config.engine.device
    model = model_of(run, device)
    settings = TransformersSettings(
        device=device,
        dtype=model.dtype,
        attention=model.attention,
        context=model.context,
        trust_remote_code=model.trust_remote_code,
        serve=config.engine.serve,
    )
    with closing(StreamingEngine(settings)) as talker:
        talk = Conversation(
            talker,
            policies,
            run.best,
            replace(sampling, max_tokens=arguments.max_tokens or sampling.max_tokens),
            config.prompts.system if arguments.system is None else arguments.system,
        )
        if arguments.model:
            talk.switch(arguments.model)
        if arguments.temperature:
            talk.heat(arguments.temperature)
        if sys.stdin.isatty():
            sys.stderr.write(f"{' '.join(policies)} of {run.name}; /help lists the commands\n")
            with suppress(ImportError):  # arrow keys and earlier lines, where Python has them
                importlib.import_module("readline")
        # A line that cannot be decoded is one line that is not sent, not the end.
        getattr(sys.stdin, "reconfigure", lambda **_: None)(errors="surrogateescape")
        ChatShell(talk, run.name).loop()


if __name__ == "__main__":
    sys.exit(main())
