"""What our trainers override of the libraries', written out.

A method that a release renames is overridden in silence: nobody calls ours any more. These are what
decision 0016 weighs.
"""

from __future__ import annotations

import pytest

from iterdpo.training.dpo_trainer import ResumableDpoTrainer
from iterdpo.training.orpo_trainer import ResumableOrpoTrainer
from iterdpo.training.resumable import ResumableTrainer
from iterdpo.training.sft_trainer import ResumableSftTrainer

EVERY = {
    "_get_grad_norm", "_load_from_checkpoint", "_prepare_dataset", "compute_loss",
    "create_scheduler", "get_batch_samples", "training_step",
}  # fmt: skip
PAIRS = EVERY | {"loss_is_scaled_for_ga"}
ODDS = PAIRS | {"concatenated_forward", "get_batch_loss_metrics", "odds_ratio_loss"}


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        (ResumableDpoTrainer, PAIRS),
        (ResumableOrpoTrainer, ODDS - {"_prepare_dataset"}),  # it has no such method
        (ResumableSftTrainer, EVERY),
    ],
)
def test_every_override_is_of_something_that_the_library_has(
    trainer: type[ResumableTrainer], expected: set[str]
) -> None:
    ours, theirs = set[str](), set[str]()
    for base in trainer.__mro__[:-1]:
        names = ours if base.__module__.startswith("iterdpo.") else theirs
        names |= {name for name in vars(base) if not name.startswith("__")}
    assert ours & theirs == expected
