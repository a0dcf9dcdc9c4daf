"""Which processes hold memory on the machine's NVIDIA cards, as its driver lists them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

_QUERY = ("--query-compute-apps=pid,used_memory,process_name", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Holder:
    """One process on a card."""

    pid: int
    mib: int | None
    """What it holds; None where the driver does not tell."""
    command: str
    orphan: bool
    """Whether nobody waits for it: what started it is gone."""

    def __str__(self) -> str:
        held = "" if self.mib is None else f", {self.mib / 1024:.1f} GiB"
        orphan = ", left by a run that was killed" if self.orphan else ""
        return f"process {self.pid} ({self.command}{held}{orphan})"


def card_holders() -> list[Holder]:
    """Return the processes of others that hold memory on a card, the largest first.

    Neither this process nor what it started is among them. Empty where nvidia-smi is not there or
    tells nothing, as in a container that does not share the machine's process ids.
    """
    import psutil

    own = psutil.Process()
    ours = {own.pid, *(child.pid for child in own.children(recursive=True))}
    found = [holder for line in _listed() if (holder := _holder(line)) and holder.pid not in ours]
    return sorted(found, key=lambda holder: -(holder.mib or 0))


def _listed() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        asked = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return asked.stdout.splitlines() if asked.returncode == 0 else []


def _holder(line: str) -> Holder | None:
    """Return what a line such as ``4711, 70210, VLLM::EngineCore`` says."""
    import psutil

    pid, mib, name = (part.strip() for part in (*line.split(",", 2), "", "")[:3])
    if not pid.isdigit():
        return None
    held = int(mib) if mib.isdigit() else None
    try:
        process = psutil.Process(int(pid))
        command, parent = " ".join(process.cmdline())[:80] or name, process.parent()
    except psutil.Error:  # it has ended, is another user's, or in another container
        return Holder(int(pid), held, name, orphan=False)
    return Holder(int(pid), held, command, orphan=parent is None or parent.pid == 1)
