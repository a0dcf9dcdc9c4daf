"""What is measured of policies, judges and pairs.

A verifier of your own derives from ``Verifier`` and is named by ``evaluation.oracle._target_``.
"""

from iterdpo.verifiers.base import Verifier

__all__ = ["Verifier"]
