"""A small world in which self-rewarding research takes minutes on two CPU cores.

An instruction grammar, an exact oracle with an additive five-point rubric, and a seed model that
is a mediocre writer and a decent judge. The loop never sees the oracle; it only measures.
"""
