"""How a child lives: one runner a file, and what they share. Only this folder starts, signals and reaps processes."""
