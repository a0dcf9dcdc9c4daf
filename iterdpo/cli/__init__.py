"""The command: its subcommands, its overrides, the plan and what is printed."""
