"""How fast an invocation and a cold start are, as ratios to what the machine can do at all: `python -m tests.bench`."""
