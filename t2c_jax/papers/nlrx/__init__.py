"""NL-RX (Locascio et al. 2016): equality of regular expressions."""

from t2c_jax.config.registry import lazy, metrics

metrics.register("regex_match")(lazy("t2c_jax.papers.nlrx.regex_match:RegexMatch"))
