"""Models as pure Flax modules, each architecture with its config class.

Importing this package registers the architectures by their configs alone; the modules are imported where one is built.
"""

from t2c_jax.models.pretrained import config as _pretrained  # noqa: F401
from t2c_jax.models.recurrent import config as _recurrent  # noqa: F401
from t2c_jax.models.transformer import config as _transformer  # noqa: F401
