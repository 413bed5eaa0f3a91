"""The commands of `clima-agent`, a module each: HELP, `add_arguments(parser)`, `run(arguments)`."""
