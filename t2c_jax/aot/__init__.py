"""Ahead-of-time compilation for TPU topologies, on a machine without a TPU, and what the compiled program says."""
