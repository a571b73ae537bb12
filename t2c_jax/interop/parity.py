"""Whether an exported model is the model: log-probabilities and greedy tokens on real prompts, in float32.

Letters: N prompts, S source, T target, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from t2c_jax.config import DecodeConfig, ModelConfig
from t2c_jax.decode.programs import search_function
from t2c_jax.errors import UserError
from t2c_jax.interop.trained import Trained
from t2c_jax.models.definition import Definition, Params
from t2c_jax.tokenizers.base import Tokenizer

TOLERANCE = 1e-3
"""Of a log-probability. Two float32 programs that sum in another order differ by 1e-6 to 1e-4, by the model's depth;
a wrong scale, epsilon or bucket by a tenth and more."""
STEPS = 24  # tokens compared a prompt; far relative buckets are reached by the sources
PROMPTS = (
    ("Return the sum of two numbers.", "def add(a, b):\n    return a + b\n"),
    (
        "Count how often each word occurs in a text.",
        "from collections import Counter\n\nreturn Counter(text.split())\n",
    ),
    ("Return True if the name is valid.", "def is_valid(name):\n    return name.isidentifier()\n"),
    ("Read all lines of a file, without their newlines.", "with open(path) as file:\n    return file.read().split()\n"),
)


@dataclass(frozen=True)
class Reference:
    """What our model makes of some prompts.

    Attributes:
      sources: ids, with what belongs around them.
      targets: ids to score, real targets first, then for each prompt what greedy search found.
      log_p_TV: for each target the log-probabilities of every token at each of its places.
      prompts: how many; source ``n % prompts`` belongs to target n.
    """

    sources: list[Int[np.ndarray, " S"]]
    targets: list[Int[np.ndarray, " T"]]
    log_p_TV: list[Float[np.ndarray, "T V"]]
    prompts: int

    @property
    def greedy(self) -> list[Int[np.ndarray, " T"]]:
        """What greedy search found, eos included."""
        return self.targets[self.prompts :]


def reference(model: Trained, pairs: Sequence[tuple[str, str]]) -> Reference:
    """Our model's answers to (source, target) strings."""
    tokenizer, reader = model.tokenizer, model.tokenizers.source
    objective, room = model.objective, model.run.data.encoder_length
    cut = max(room - objective.source.extra_tokens, 1)
    sources = [objective.source(ids[:cut]) for ids in reader.encode_batch([source for source, _ in pairs])]
    encoded = tokenizer.encode_batch([target for _, target in pairs])
    # What comes behind eos, as PLBART's language, is for training alone.
    real = [upto(objective.target(ids)[:STEPS], tokenizer.eos) for ids in encoded]
    found = _search(model.config, model.params, tokenizer, sources)
    log_p = [_score(model.config, model.params, tokenizer, sources, targets) for targets in (real, found)]
    return Reference(sources, [*real, *found], [*log_p[0], *log_p[1]], len(sources))


def repeated(
    config: ModelConfig, params: Params, tokenizer: Tokenizer, expected: Reference
) -> tuple[list[Float[np.ndarray, "T V"]], list[Int[np.ndarray, " T"]]]:
    """Log-probabilities of the same targets, and greedy answers, by another model: what was read back from a file."""
    real, found = expected.targets[: expected.prompts], expected.greedy
    log_p = [_score(config, params, tokenizer, expected.sources, targets) for targets in (real, found)]
    return [*log_p[0], *log_p[1]], _search(config, params, tokenizer, expected.sources)


def _definition(config: ModelConfig, tokenizer: Tokenizer) -> Definition:
    return Definition(replace(config, dtype="float32", attention="xla", remat="none"), tokenizer.vocab_size)


def _search(
    config: ModelConfig, params: Params, tokenizer: Tokenizer, sources: Sequence[np.ndarray]
) -> list[Int[np.ndarray, " T"]]:
    definition = _definition(config, tokenizer)

    @jax.jit
    def search(params: Params, read: dict[str, jax.Array]) -> jax.Array:
        shape = DecodeConfig(beam_size=1, max_tokens=STEPS, length_penalty=0)
        searched = search_function([definition], shape, start=tokenizer.start, eos=tokenizer.eos)
        return searched([params], read).tokens[:, 0]

    with jax.default_matmul_precision("highest"):
        return [upto(row, tokenizer.eos) for row in np.asarray(search(params, _batch(sources, "encoder")))]


def _score(
    config: ModelConfig,
    params: Params,
    tokenizer: Tokenizer,
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
) -> list[Float[np.ndarray, "T V"]]:
    definition = _definition(config, tokenizer)

    @jax.jit
    def score(params: Params, batch: dict[str, jax.Array]) -> jax.Array:
        bound = definition.bind(params)
        return jax.nn.log_softmax(bound.logits(bound.predict(batch).states_BTD), axis=-1)

    batch = {**_batch(sources, "encoder"), **_batch(shifted(targets, tokenizer.start), "decoder")}
    with jax.default_matmul_precision("highest"):
        log_p_NTV = np.asarray(score(params, batch))
    return [row[: len(target)] for row, target in zip(log_p_NTV, targets, strict=True)]


def compare(
    expected: Reference,
    log_p: Sequence[Float[np.ndarray, " T"]] | Sequence[Float[np.ndarray, "T V"]],
    greedy: Sequence[Int[np.ndarray, " T"]],
) -> dict[str, Any]:
    """How far another engine's numbers are from ours.

    Args:
      expected: ours.
      log_p: theirs for each target: of its own tokens, or of the whole vocabulary at each place.
      greedy: what their greedy search found for each prompt, up to its eos and at most ``STEPS`` tokens.

    Returns:
      ``prompts``, ``tokens`` compared, the largest difference of a log-probability, how many greedy answers are
      identical, and the largest log-probability that our model gives its own token over theirs where an answer parts.
    """
    largest, tokens = 0.0, 0
    for target, ours_TV, theirs in zip(expected.targets, expected.log_p_TV, log_p, strict=True):
        ours = ours_TV if np.ndim(theirs) == 2 else ours_TV[np.arange(len(target)), target]
        largest = max(largest, float(np.abs(ours - theirs).max(initial=0.0)))
        tokens += len(target)
    identical, margin = 0, 0.0
    for ours, log_p_TV, found in zip(expected.greedy, expected.log_p_TV[expected.prompts :], greedy, strict=True):
        length = min(len(ours), len(found))
        parted = np.flatnonzero(ours[:length] != found[:length])
        if len(parted):
            place = parted[0]
            margin = max(margin, float(log_p_TV[place, ours[place]] - log_p_TV[place, found[place]]))
        identical += not len(parted)
    return {
        "prompts": expected.prompts,
        "tokens": tokens,
        "largest_log_prob_difference": largest,
        "greedy_identical": identical,
        "largest_greedy_margin": margin,
    }


def demand(found: dict[str, Any], against: str) -> None:
    """Refuses an export that is not the model.

    Raises:
      UserError: a log-probability differs by more than ``TOLERANCE``, or a greedy answer parts where it is no tie.
    """
    worst = max(found["largest_log_prob_difference"], found["largest_greedy_margin"] / 2)
    if not worst <= TOLERANCE:
        raise UserError(
            f"the exported model is not the same by {against}: log-probabilities differ by"
            f" {found['largest_log_prob_difference']:.2g}, greedy answers part at a margin of"
            f" {found['largest_greedy_margin']:.2g}, and {TOLERANCE:g} is allowed; nothing was written; please report"
        )


def upto(row: np.ndarray, eos: int) -> np.ndarray:
    """The ids up to the first eos, that one included."""
    ends = np.flatnonzero(row == eos)
    return row[: ends[0] + 1] if len(ends) else row


def padded(rows: Sequence[np.ndarray], fill: int = 0) -> tuple[Int[np.ndarray, "N T"], Int[np.ndarray, "N T"]]:
    """Ragged ids as one array, and where there are any."""
    longest = max(len(row) for row in rows)
    tokens_NT = np.full((len(rows), longest), fill, np.int32)
    there_NT = np.zeros((len(rows), longest), np.int32)
    for row, ids in enumerate(rows):
        tokens_NT[row, : len(ids)] = ids
        there_NT[row, : len(ids)] = 1
    return tokens_NT, there_NT


def shifted(targets: Sequence[np.ndarray], start: int) -> list[np.ndarray]:
    """What a decoder is fed for each target."""
    return [np.concatenate([[start], target[:-1]]).astype(np.int32) for target in targets]


def _batch(rows: Sequence[np.ndarray], side: str) -> dict[str, jax.Array]:
    tokens_NT, there_NT = padded(rows)
    positions_NT = np.broadcast_to(np.arange(tokens_NT.shape[1], dtype=np.int32), tokens_NT.shape)
    parts = {"input_tokens": tokens_NT, "segment_ids": there_NT, "positions": positions_NT}
    return {f"{side}_{name}": jnp.asarray(value) for name, value in parts.items()}
