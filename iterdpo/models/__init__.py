"""Models as files and modules: checkpoints, loading, quantizing, chat templates, hardware."""
