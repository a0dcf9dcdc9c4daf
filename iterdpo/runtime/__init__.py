"""What goes on around a run: signals, progress, the terminal, the libraries' logging."""
