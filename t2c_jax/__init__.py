"""Train sequence-to-sequence models that write code from text, in JAX."""

__version__ = "0.1.0"

from t2c_jax.papers import code2seq as code2seq
from t2c_jax.papers import deep_api as deep_api
