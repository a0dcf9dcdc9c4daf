"""Sizes for runs of the lab whose claims depend on none, below those of ``experiment=smoke``."""

LITTLE_MEASURED = (
    "evaluation.prompts=4", "evaluation.fixed_prompts=4", "evaluation.fixed_samples=2",
)  # fmt: skip
SMALL = ("prompts.per_iteration=8", *LITTLE_MEASURED)
