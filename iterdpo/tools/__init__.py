"""What is done after a run: pages, tables, chat, labels, uploads, exports."""
