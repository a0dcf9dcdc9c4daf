"""A run on the Hugging Face Hub: adapters and preference pairs, each with a card that tells all."""
