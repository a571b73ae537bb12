"""Train sequence-to-sequence models that write code from text, in JAX."""

# Parts register themselves where these are imported; none of them loads jax or another large library.
import t2c_jax.data.tasks
import t2c_jax.evaluate
import t2c_jax.models
import t2c_jax.papers  # noqa: F401
from t2c_jax.version import __version__ as __version__
