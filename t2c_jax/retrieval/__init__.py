"""Nearest training pairs."""
