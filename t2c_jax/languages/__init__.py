"""Knowledge of programming languages: extractors, aliases, identifiers, lexers, parsing. Importing it is cheap."""

from t2c_jax.languages import definitions as definitions
from t2c_jax.languages import markdown as markdown
from t2c_jax.languages import notebooks as notebooks
from t2c_jax.languages import python as python
from t2c_jax.languages import restructuredtext as restructuredtext
from t2c_jax.languages import sql as sql
from t2c_jax.languages import texts as texts  # registers the text forms
