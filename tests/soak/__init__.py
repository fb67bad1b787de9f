"""Whether anything piles up over thousands of invocations: `python -m tests.soak`."""
