"""What of a model is trained, and what it is measured against."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from iterdpo.training.spec import Spec


class Learner(Protocol):
    """A loaded policy with its reference, if its training has one."""

    model: Any
    """The policy, in training mode."""
    reference: Any | None
    """The reference, where it is a model of its own; None where the policy's model holds it."""

    def begin(self) -> None:
        """Make policy and reference what the spec names, once a trainer was made of them.

        Raises:
            LineageError: a file that the spec names did not load.
        """

    def as_reference(self) -> AbstractContextManager[Any]:
        """Yield the model that computes the reference within the block."""

    def reference_sha256(self) -> str | None:
        """Return the hash of the reference's weights as they are held now; None without one."""

    def computing(self) -> AbstractContextManager[None]:
        """Compute within the block in the type that training computes in."""

    def check_gradients(self) -> None:
        """Check that gradients are where they belong, and nowhere else.

        Raises:
            LineageError: naming a parameter of which that is not so.
        """

    def save(self, out: Path) -> dict[str, str]:
        """Write the policy below ``out``; return what the report says of its weights' hash."""


def load_learner(spec: Spec) -> Learner:
    """Load what ``spec`` trains: an adapter, or every weight."""
    if spec.lora is None:
        from iterdpo.training.full_weights import FullLearner

        return FullLearner(spec)
    from iterdpo.training.adapters import AdapterLearner

    return AdapterLearner(spec)
