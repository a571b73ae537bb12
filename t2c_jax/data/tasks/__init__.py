"""Training tasks, one file an objective family.

Importing this package registers the objectives; their modules are imported where a task is made. To add an objective,
write a ``Task``, and register an ``Objective`` that builds it.
"""

from t2c_jax.config.registry import lazy, objectives
from t2c_jax.data.tasks.objective import Objective

_TRANSLATION = lazy("t2c_jax.data.tasks.translation:build_translation")
_LANGUAGE_MODELLING = "t2c_jax.data.tasks.language_modelling"
_IDENTIFIERS = "t2c_jax.data.tasks.identifiers"

for _name, _objective in {
    "text_to_code": Objective(_TRANSLATION),
    "code_to_text": Objective(_TRANSLATION),
    "span_corruption": Objective(lazy("t2c_jax.data.tasks.span_corruption:build_span_corruption")),
    "causal_lm": Objective(lazy(f"{_LANGUAGE_MODELLING}:build_causal_lm")),
    "prefix_lm": Objective(lazy(f"{_LANGUAGE_MODELLING}:build_prefix_lm")),
    "fill_in_the_middle": Objective(lazy(f"{_LANGUAGE_MODELLING}:build_fill_in_the_middle")),
    "masked_identifiers": Objective(lazy(f"{_IDENTIFIERS}:build_masked_identifiers"), needs_identifiers=True),
    "identifier_tagging": Objective(
        lazy(f"{_IDENTIFIERS}:build_identifier_tagging"),
        output_head="tagging",
        needs_identifiers=True,
        batch_key="encoder_tags",
    ),
    "contrastive": Objective(
        lazy("t2c_jax.data.tasks.contrastive:build_contrastive"),
        output_head="embedding",
        batch_key="contrastive_pairs",
    ),
}.items():
    objectives.register(_name)(_objective)
