"""Scores of generated code beside a retrieval baseline, and the report.

Importing this package registers the metrics; their modules are imported where a metric is made.
"""

import functools

from t2c_jax.config.registry import lazy, metrics

for _name, _path in {
    "exact_match": "t2c_jax.evaluate.metrics.exact_match:ExactMatch",
    "bleu": "t2c_jax.evaluate.metrics.corpus_bleu:CodeBleu4",
    "chrf": "t2c_jax.evaluate.metrics.chrf:ChrF",
    "parses": "t2c_jax.evaluate.metrics.parses:Parses",
    "python_match": "t2c_jax.evaluate.metrics.python_match:PythonMatch",
    "crystal_bleu": "t2c_jax.evaluate.metrics.crystal_bleu:CrystalBleu",
    "edit_similarity": "t2c_jax.evaluate.metrics.edit_similarity:EditSimilarity",
    "token_edit_similarity": "t2c_jax.evaluate.metrics.edit_similarity:TokenEditSimilarity",
    "identifier_f1": "t2c_jax.evaluate.metrics.identifier_f1:IdentifierF1",
    "codebleu": "t2c_jax.evaluate.metrics.codebleu:CodeBleu",
    "codebleu_ngram": "t2c_jax.evaluate.metrics.codebleu:NgramPart",
    "codebleu_weighted": "t2c_jax.evaluate.metrics.codebleu:WeightedPart",
    "codebleu_syntax": "t2c_jax.evaluate.metrics.codebleu:SyntaxPart",
    "codebleu_dataflow": "t2c_jax.evaluate.metrics.codebleu:DataFlowPart",
    "codebleu_published": "t2c_jax.evaluate.metrics.codebleu_published:PublishedCodeBleu",
    "codebleu_published_ngram": "t2c_jax.evaluate.metrics.codebleu_published:PublishedNgramPart",
    "codebleu_published_weighted": "t2c_jax.evaluate.metrics.codebleu_published:PublishedWeightedPart",
    "codebleu_published_syntax": "t2c_jax.evaluate.metrics.codebleu_published:PublishedSyntaxPart",
    "codebleu_published_dataflow": "t2c_jax.evaluate.metrics.codebleu_published:PublishedDataFlowPart",
    "execution_match": "t2c_jax.evaluate.metrics.execution_match:ExecutionMatch",
}.items():
    metrics.register(_name)(lazy(_path))
for _k in (1, 3, 5, 10, 20, 25, 50, 100):
    metrics.register(f"pass_at_{_k}")(functools.partial(lazy("t2c_jax.evaluate.metrics.pass_at_k:PassAtK"), _k))
