"""Scores of answers against their references, one file each; ``t2c_jax.evaluate`` registers them."""
