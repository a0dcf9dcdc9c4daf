"""How candidates are judged: rubrics, verdicts, scores, and the policy as its own judge."""
