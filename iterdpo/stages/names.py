"""What the stages are called: the first part of ``<stage>/<key>`` in a store."""

from __future__ import annotations

BASE = "base"
JUDGING_EXAMPLES = "judging_examples"
SFT = "sft"
MERGED = "merged"
PROMPTS = "prompts"
CANDIDATES = "candidates"
JUDGMENTS = "judgments"
PAIRS = "pairs"
ADAPTER = "adapter"
"""Of a training of the loop, though every weight was trained."""
ANSWERS = "answers"
"""To the held-out prompts."""
ANSWER_JUDGMENTS = "answer_judgments"
COMPARISONS = "comparisons"
EVALUATION = "evaluation"
HEALTH = "health"

POLICIES = (BASE, SFT, MERGED, ADAPTER)
"""The stages whose result is a policy."""
