"""How judged candidates become preference pairs."""
