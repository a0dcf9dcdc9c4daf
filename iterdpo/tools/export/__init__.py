"""A model of a run as a plain checkpoint, for programs that know nothing of adapters."""
