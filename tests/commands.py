"""Commands in processes of their own, which find the heavy libraries loaded.

To import those takes every process seconds. Here one that has done it forks for each command, and
nothing of ours is loaded before that. Claims about loading itself, signals and terminals are tested
on processes that start from nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_SERVER = """
import gc, json, os, runpy, sys
answers = os.fdopen(os.dup(1), "w", 1)
os.dup2(2, 1)  # what libraries print is no answer
import hydra, pandas, pyarrow.parquet, pydantic, rapidfuzz
import bitsandbytes, datasets, peft, torch, transformers
import transformers.training_args, trl.trainer.dpo_trainer, trl.trainer.sft_trainer

for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
    del sys.modules[name]  # its directory for media goes with the first child
gc.collect()
gc.freeze()  # a collection would copy what is shared
print("ready", file=answers)
while line := sys.stdin.readline():
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)
else:
    sys.exit()

asked = json.loads(line)
for number, place in enumerate(asked["files"]):
    os.dup2(os.open(place, os.O_RDWR | os.O_APPEND), number)
sys.stdin = open(0, closefd=False)  # unread, as a new process has it
os.chdir(asked["cwd"])
os.environ.clear()
os.environ.update(asked["env"])
added = [part for part in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if part]
kind, *sys.argv = asked["arguments"]
sys.path[:1] = [os.getcwd(), *added]
if kind == "-m":
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
elif kind == "-c":
    code, sys.argv[0] = sys.argv[0], "-c"
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
else:
    sys.argv.insert(0, kind)
    sys.path[0] = os.path.dirname(kind)
    runpy.run_path(kind, run_name="__main__")
"""


def run_python(
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    said: str = "",
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run ``python`` with ``arguments`` and return how it ended and what it wrote.

    Args:
        arguments: ``-m MODULE``, ``-c CODE`` or a script, and what it is given.
        cwd: where; the current directory by default.
        env: its environment; this process's by default.
        said: its input.
        check: raise ``CalledProcessError`` where it fails.
    """
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / name for name in ("in", "out", "err")]
        for file, text in zip(files, (said, "", ""), strict=True):
            file.write_text(text, "utf-8")
        asked = {
            "arguments": arguments,
            "cwd": str((cwd or Path()).resolve()),
            "env": dict(os.environ if env is None else env),
            "files": [str(file) for file in files],
        }
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        out, err = (file.read_text("utf-8") for file in files[1:])
    done = subprocess.CompletedProcess([sys.executable, *arguments], status, out, err)
    if check:
        done.check_returncode()
    return done


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process that forks. It ends with its input, so at the latest with this process."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).anchor,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n", "the libraries do not load"
    return server
