"""What single papers alone need. Importing this package registers the parts of each."""

from t2c_jax.config.registry import lazy, metrics
from t2c_jax.papers import code2seq, deep_api  # noqa: F401
from t2c_jax.papers.code2seq import config  # noqa: F401

for _name, _path in {
    "logic_match": "t2c_jax.papers.semantic_parsing.logic_match:LogicMatch",
    "regex_match": "t2c_jax.papers.nlrx.regex_match:RegexMatch",
    "conala_bleu": "t2c_jax.papers.conala.bleu:ConalaBleu4",
    "subtoken_f1": "t2c_jax.papers.code2seq.subtoken_f1:SubtokenF1",
    "api_precision": "t2c_jax.papers.deep_api.ranking:ApiPrecision",
    "relevancy": "t2c_jax.papers.deep_api.ranking:Relevancy",
    "frank": "t2c_jax.papers.deep_api.ranking:FRank",
}.items():
    metrics.register(_name)(lazy(_path))
