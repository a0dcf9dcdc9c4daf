"""What a run can be told: the schema, and the check of composed values."""
