"""Training tasks, one file an objective family. Importing this package registers the objectives.

To add an objective, write a ``Task``, register an ``Objective`` that builds it, and import its module here.
"""

from t2c_jax.data.tasks import (
    contrastive,  # noqa: F401
    identifiers,  # noqa: F401
    language_modelling,  # noqa: F401
    span_corruption,  # noqa: F401
    translation,  # noqa: F401
)
