"""Train sequence-to-sequence models that write code from text, in JAX."""

__version__ = "0.1.0"
