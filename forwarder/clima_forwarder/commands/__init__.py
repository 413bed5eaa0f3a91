"""The commands of `clima`, one module each; see clima_core.commandline."""
