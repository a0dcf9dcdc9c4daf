"""Talking to any model of a run, and to several of them side by side."""
