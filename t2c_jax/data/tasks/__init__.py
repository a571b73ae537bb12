"""Training tasks: what a task makes of the records of a corpus. Importing this package registers the objectives."""

from dataclasses import dataclass

from t2c_jax.config import registry


@dataclass(frozen=True)
class Objective:
    """What a config has to know of an objective.

    Attributes:
      output_head: the head over encoder states that it trains; empty where it trains the decoder.
    """

    output_head: str = ""


for _name in (
    *("text_to_code", "code_to_text", "span_corruption", "masked_identifiers"),
    *("causal_lm", "prefix_lm", "fill_in_the_middle"),
):
    registry.objectives.register(_name)(Objective())
registry.objectives.register("identifier_tagging")(Objective("tagging"))
registry.objectives.register("contrastive")(Objective("embedding"))
