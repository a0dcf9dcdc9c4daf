"""The stages of the loop: what each depends on, computes and keeps.

A stage's ``settings`` are what enters its key. What changes only speed or place (the store's root,
the tracker, the process that trains) stays out of them.
"""
