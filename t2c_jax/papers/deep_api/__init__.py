"""Deep API learning (Gu et al. 2016): sequences of API calls as code, and metrics of their ranking."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from t2c_jax.config.registry import lazy, metrics
from t2c_jax.languages.forms import CodeForm, NoPair, code_forms


def _reader(tree: ast.Module) -> Callable[[Any], str]:
    from t2c_jax.papers.deep_api.api_calls import ApiCalls

    calls = ApiCalls(tree)

    def names(node: Any) -> str:
        found = calls.of(node)
        if not found:
            raise NoPair("no API calls")
        return " ".join(found)

    return names


code_forms.register("apis")(CodeForm("apis", ("function", "method"), _reader))

metrics.register("api_precision")(lazy("t2c_jax.papers.deep_api.ranking:ApiPrecision"))
metrics.register("relevancy")(lazy("t2c_jax.papers.deep_api.ranking:Relevancy"))
metrics.register("frank")(lazy("t2c_jax.papers.deep_api.ranking:FRank"))
