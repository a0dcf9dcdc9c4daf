"""The sections of a run's page: pure functions from what a run left to tables and charts."""
