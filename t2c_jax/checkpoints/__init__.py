"""Checkpoints: saving, restoring, checksums, and starting a run from another run's parameters."""
