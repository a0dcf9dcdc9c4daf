"""The names of what trainings leave in a stage's directory."""

from __future__ import annotations

ADAPTER_DIR = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""In PEFT's layout, as ``ADAPTER_CONFIG`` is."""
ADAPTER_CONFIG = "adapter_config.json"
DEQUANTIZED_DIR = "dequantized"
"""The dequantized checkpoint of a base: what engines serve."""
MODEL_DIR = "model"
"""A checkpoint: every weight, the tokenizer and the configuration."""
TRAINING_FILE = "training.json"
"""The report of a training."""
