"""The table of samples: some prompts with every answer, its score, and what became of it."""

from __future__ import annotations

from iterdpo.loop import Made

SAMPLED_PROMPTS = 16


def sample_rows(made: Made, prompts: int = SAMPLED_PROMPTS) -> list[dict[str, object]]:
    """Return a row for each answer to the first ``prompts`` prompts of an iteration."""
    marks = {pair.chosen_id: "chosen" for pair in made.pairs.value.kept}
    marks |= {pair.rejected_id: "rejected" for pair in made.pairs.value.kept}
    scores = {judgment.candidate_id: judgment.score for judgment in made.judgments.value}
    shown = {prompt.id: prompt.text for prompt in made.prompts.value[:prompts]}
    return [
        {
            "prompt": shown[candidate.prompt_id],
            "answer": candidate.text,
            "score": scores.get(candidate.id),
            "mark": marks.get(candidate.id, ""),
            "tokens": len(candidate.token_ids),
        }
        for candidate in made.candidates.value
        if candidate.prompt_id in shown
    ]
