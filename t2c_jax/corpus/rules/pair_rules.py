"""Which pairs are dropped, and what is replaced in the others."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair
from t2c_jax.corpus.rules.limits import broken_limit


class PairRules:
    """The rules of a config for pairs; picklable, for mining workers."""

    def __init__(self, config: CorpusConfig, mined: bool = True) -> None:
        """Prepares the rules.

        Args:
          config: the limits and what to clean.
          mined: False for pairs of files and datasets, which are checked for limits only.
        """
        self._config = config

    def __call__(self, pair: Pair) -> Pair | str:
        """The pair, perhaps with parts replaced; or the rule that drops it."""
        return broken_limit(pair, self._config) or pair
