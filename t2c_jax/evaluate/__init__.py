"""Scores of generated code beside a retrieval baseline, and the report.

Importing this package registers the metrics; their modules are imported where a metric is made.
"""

from t2c_jax.config.registry import lazy, metrics

for _name, _path in {
    "exact_match": "t2c_jax.evaluate.metrics:ExactMatch",
    "bleu": "t2c_jax.evaluate.metrics:CodeBleu4",
    "chrf": "t2c_jax.evaluate.metrics:ChrF",
    "parses": "t2c_jax.evaluate.metrics:Parses",
    "python_match": "t2c_jax.evaluate.python_match:PythonMatch",
}.items():
    metrics.register(_name)(lazy(_path))
