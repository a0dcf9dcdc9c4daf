"""One run: executed, summarized, compared, and read back from its directory."""
