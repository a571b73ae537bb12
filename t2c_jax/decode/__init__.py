"""Search over a cache pytree, and generation: text in, code out."""
