"""iterdpo: self-rewarding, iterative DPO research with a lineage that can be proved.

``iterdpo.run`` and ``iterdpo.load`` are the command and its runs in Python; see ``iterdpo.api``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iterdpo.api import RunResult, load, run

__version__ = "0.1.0"
__all__ = ["RunResult", "__version__", "load", "run"]


def __getattr__(name: str) -> Any:
    """Load the API when it is first asked for: importing a room loads nothing else."""
    if name in ("RunResult", "load", "run"):
        from iterdpo import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
