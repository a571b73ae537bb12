"""Attention and matrix products, by platform."""
