"""What is left out of a corpus, file by file and pair by pair.

``FileRules`` judges a file before it is parsed, ``PairRules`` a pair after it is extracted. Both are pure functions of
the config and of what they are given, so mining workers call them. Rules that compare pairs with each other run over
the whole corpus, in ``corpus.clean``.
"""

from t2c_jax.corpus.rules.file_rules import FileRules
from t2c_jax.corpus.rules.pair_rules import PairRules

__all__ = ["REVISION", "FileRules", "PairRules"]

REVISION = 2
"""Counts the changes of what the rules leave out: a corpus of other rules is made again."""
