"""The steps of the loop as stages: what each depends on, computes and keeps.

A step's ``settings`` are what enters its key. What changes only speed or place (the store's root,
the tracker, the process that trains) stays out of them.
"""
