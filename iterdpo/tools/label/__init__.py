"""People as judges: a blinded page to compare answers on, and what their comparisons come to."""
