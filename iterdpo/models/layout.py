"""The names of what trainings leave in a stage's directory."""

from __future__ import annotations

ADAPTER_DIR = "adapter"
DEQUANTIZED_DIR = "dequantized"
"""The dequantized checkpoint of a base: what engines serve."""
MODEL_DIR = "model"
"""A checkpoint: every weight, the tokenizer and the configuration."""
REPORT_FILE = "training.json"
