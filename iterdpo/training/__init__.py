"""Training: the quantized base, adapters, and DPO with its run-time checks."""
