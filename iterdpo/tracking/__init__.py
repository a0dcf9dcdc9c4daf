"""Where metrics and samples go besides the run directory.

A tracker of your own derives from ``Tracker`` and is named by ``tracking._target_``.
"""

from iterdpo.tracking.base import Tracker

__all__ = ["Tracker"]
