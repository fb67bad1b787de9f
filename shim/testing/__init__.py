"""What this project's own tests use, and what others may: nothing heavy is imported here."""
