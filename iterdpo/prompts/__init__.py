"""Where instructions come from, and who may see which."""
