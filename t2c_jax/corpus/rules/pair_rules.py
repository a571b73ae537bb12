"""Which pairs are dropped, and what is replaced in the others."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair
from t2c_jax.corpus.rules.licence_rule import LicenceRule
from t2c_jax.corpus.rules.limits import broken_limit
from t2c_jax.corpus.rules.prose_rules import ProseRules
from t2c_jax.corpus.rules.redaction import Redaction
from t2c_jax.corpus.tally import Tally


class PairRules:
    """The rules of a config for pairs; picklable, for mining workers."""

    def __init__(self, config: CorpusConfig, mined: bool = True) -> None:
        """Prepares the rules.

        Args:
          config: the limits and what to clean.
          mined: False for pairs of files and datasets; most rules spare them unless config.corpus.rules_for is "all".
        """
        self._config = config
        applies = mined or config.rules_for == "all"
        self._licences = LicenceRule(config.licences) if applies and config.licences else None
        self._prose = ProseRules(config) if applies else None
        self._redaction = Redaction(config) if applies else None

    def __call__(self, pair: Pair, replaced: Tally | None = None) -> Pair | str:
        """The pair, perhaps with parts replaced; or the rule that drops it.

        Args:
          pair: as it was extracted.
          replaced: counts what was replaced, by kind.
        """
        if rule := broken_limit(pair, self._config):
            return rule
        if self._licences is not None and not self._licences.allows(pair.source.licence):
            return f"licence {pair.source.licence or 'unknown'} is not in config.corpus.licences"
        if self._prose is not None and (rule := self._prose(pair)):
            return rule
        if self._redaction is not None:
            pair, kinds, rule = self._redaction(pair)
            if rule:
                return rule
            if replaced is not None:
                for kind in kinds:
                    replaced.add(kind, str(pair.source))
        return pair
