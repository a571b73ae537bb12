"""Training tasks: what a task makes of the records of a corpus."""
