"""Rows of files and datasets, and what they hold: prompts, preferences, instructions, rankings."""
