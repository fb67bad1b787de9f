"""What the child is told and how its answer is read: bytes ⇄ values. Nothing in this folder does I/O."""
