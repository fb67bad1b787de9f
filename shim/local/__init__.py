"""A Lambda on this machine, as far as one invocation needs it: its context, its environment, its log lines. Imports no Typer and no Rich."""
