"""Sizes for runs of the lab whose claims depend on none, below those of ``experiment=smoke``."""

LITTLE_MEASURED = (
    "evaluation.prompts=4", "evaluation.reference_prompts=4", "evaluation.reference_samples=2",
)  # fmt: skip
SMALL = ("prompts.per_iteration=8", *LITTLE_MEASURED)
