"""The commands of `clima-agent`, one module each: `add_arguments(parser)` and `run(arguments)`."""
