"""Judged candidates become preference pairs: one small file a strategy.

A strategy of your own derives from ``Strategy`` and is named by ``pairs._target_``.
"""

from iterdpo.pairing.base import Ranked, Strategy

__all__ = ["Ranked", "Strategy"]
