"""Where metrics and samples go besides the run directory."""
