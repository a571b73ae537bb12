"""From the standard library of the Python at hand to a model that writes functions, on two CPU cores.

t2c run --config configs/quickstart.py --workdir runs/quickstart
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config() -> ConfigDict:
    """A small Transformer, sized so that the whole road takes about 15 minutes on two cores."""
    config = schema.default()
    config.corpus.sources = ("python:stdlib",)
    config.model.scan = False  # unrolled blocks run faster on a CPU
    return config
