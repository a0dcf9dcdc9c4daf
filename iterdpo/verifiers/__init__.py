"""Verifiers, which score an answer exactly: ours, and what one of your own derives from.

One is named by ``judge.verifier._target_`` to judge, or by ``evaluation.oracle._target_`` to
measure.
"""

from iterdpo.verifiers.base import Verifier

__all__ = ["Verifier"]
