"""Projects: functions to begin with, each in a language of its own."""
