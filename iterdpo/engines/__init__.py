"""Engines: what runs a model for the loop."""
