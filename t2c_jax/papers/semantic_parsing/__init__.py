"""Semantic parsing to logical forms (Dong & Lapata 2016): match up to the order of conjuncts."""

from t2c_jax.config.registry import lazy, metrics

metrics.register("logic_match")(lazy("t2c_jax.papers.semantic_parsing.logic_match:LogicMatch"))
