"""The reranker of a run: it is stored with what it was fitted on, and used with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2c_jax import config as configs
from t2c_jax.config import DecodeConfig, MeshConfig
from t2c_jax.config.registry import grammars
from t2c_jax.data.templates import TargetTemplate
from t2c_jax.decode.rerank.candidate_features import Features
from t2c_jax.decode.rerank.candidates import reordered
from t2c_jax.decode.rerank.rerank_weights import RerankWeights
from t2c_jax.decode.rerank.reviewer import load_reviewer
from t2c_jax.decode.scorer import Scorer
from t2c_jax.decode.search_names import checkpoint_name, search_name
from t2c_jax.errors import UserError
from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.parsing import parses
from t2c_jax.workdir import digest, write_json

if TYPE_CHECKING:
    from t2c_jax.checkpoints.saved_run import SavedRun
    from t2c_jax.decode.generator import Answer, Generator

RERANKERS = "rerank"
"""The directory of a run's rerankers, one for each checkpoint and search."""
_FILE = "reranker.json"
_GRAMMARS = {"shell": "bash", "sql": "sql", "json": "json"}  # stricter than those of ``languages.parsing``


@dataclass(frozen=True)
class Parser:
    """What decides whether a candidate parses.

    Attributes:
      language: of the answers; empty if it is unknown.
      grammar: config.rerank.grammar; empty for the language's own.
    """

    language: str
    grammar: str

    def function(self) -> Callable[[str], bool] | None:
        """Whether a text parses; None where no grammar is known."""
        from t2c_jax.decode.grammar.membership import Membership

        if self.grammar:
            return Membership(self.grammar)
        language = self.language
        named = _GRAMMARS.get(canonical(language), "")
        if named in grammars:
            return Membership(named)
        return None if parses("", language) is None else lambda text: bool(parses(text, language))


class Reranker:
    """Chooses among the candidates of answers."""

    def __init__(self, features: Features, weights: RerankWeights, confidence_of: str, checksum: str) -> None:
        """Computes nothing yet.

        Args:
          features: of the candidates.
          weights: fitted on these features.
          confidence_of: the metric whose value confidence estimates.
          checksum: of the weights and of all that decides the features.
        """
        self._features, self._weights = features, weights
        self.confidence_of, self.digest = confidence_of, checksum

    def __call__(self, prompts: Sequence[str], answers: Sequence[Answer]) -> list[Answer]:
        """The answers with the best candidate first and ``confidence`` in it."""
        answers, chosen = self._features.candidates(prompts, answers), []
        for prompt, answer, found in zip(prompts, answers, self._features(prompts, answers), strict=True):
            order = self._weights.order(found.values_CF)
            confidence = self._weights.confidence(found.values_CF[order[0]])
            chosen.append(reordered(prompt, answer, [found.texts[place] for place in order], confidence))
        return chosen


def reranker_name(members: Sequence[str], average: int, decode: DecodeConfig) -> str:
    """The checkpoint and the search, whatever is drawn, as in ``300-beam4-penalty1-tokens256``."""
    search = search_name(replace(decode, rerank=False, seed=DecodeConfig().seed))
    return f"{checkpoint_name(members, average)}-{search}"


def identity(run: SavedRun, generator: Generator, decode: DecodeConfig) -> dict[str, Any]:
    """What a reranker is fitted on, as JSON values; it answers for nothing else."""
    data = run.data
    prompts = [data.direction, data.prefix, data.reverse_source, data.encoder_length, configs.to_dict(data.retrieve)]
    prompts += ["placeholders"] if data.placeholders else []
    return {
        "checkpoint": generator.digest(),
        "tokenizer": run.tokenizers.digest,
        "prompt_format": digest(json.dumps(prompts)),
        "search": search_name(replace(decode, rerank=False, seed=DecodeConfig().seed)),
    }


def save_reranker(directory: Path, fitted: Mapping[str, Any]) -> None:
    """Writes the file of a reranker.

    Args:
      directory: of the stage.
      fitted: ``identity``, ``parser``, ``reviewer`` (None without one), ``weights``, and whatever is of interest.
    """
    write_json(directory / _FILE, fitted)


def load_reranker(
    run: SavedRun,
    members: Sequence[str],
    generator: Generator,
    decode: DecodeConfig,
    mesh: MeshConfig,
    average: int = 1,
) -> Reranker:
    """The reranker of a checkpoint and a search.

    Args:
      run: answers.
      members, generator: as ``load_generator`` returns them.
      decode: the search.
      mesh: of the devices.
      average: how many checkpoints' parameters are averaged.

    Raises:
      UserError: none was fitted, or its file is of another run, checkpoint or search, or is damaged; or the run that
        reviews has changed.
    """
    decode.check_candidates("config.decode.rerank chooses")
    name = reranker_name(members, average, decode)
    directory = run.workdir.current(f"{RERANKERS}/{name}")
    path = directory / _FILE
    if not path.is_file():
        others = [stage.removeprefix(f"{RERANKERS}/") for stage in run.workdir.finished_under(RERANKERS)]
        known = f"; it has one for {', '.join(others[:3])}" if others else ""
        raise UserError(
            f"config.decode.rerank: '{run.workdir.name}' has no reranker, and so no confidence, for {name}{known}; run"
            " t2c rerank with the same options"
        )
    try:
        stored = json.loads(path.read_text("utf-8"))
        weights, parser = RerankWeights.from_dict(stored["weights"]), Parser(**stored["parser"])
        fitted_on, review, confidence_of = dict(stored["identity"]), stored["reviewer"], str(stored["confidence"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"'{path}' is damaged; delete '{directory}' and run t2c rerank again") from None
    found = identity(run, generator, decode)
    if changed := [part for part, value in found.items() if fitted_on.get(part) != value]:
        raise UserError(
            f"the reranker in '{directory}' was fitted on another {' and '.join(changed).replace('_', ' ')} than this"
            " run's; run t2c rerank again"
        )
    reviewer = None
    if review is not None:
        reviewer = load_reviewer(run, generator, decode, mesh, review["run"])
        if reviewer is None or reviewer.identity != review:
            raise UserError(
                f"the reranker in '{directory}' was fitted with another checkpoint of its reviewer"
                f" '{review['run'] or run.workdir.name}'; run t2c rerank again"
            )
    features = make_features(run, generator, decode, parser, None if reviewer is None else reviewer.scorer)
    if features.names != weights.features:
        raise UserError(f"the reranker in '{directory}' was fitted on other features; run t2c rerank again")
    decides = {part: stored[part] for part in ("identity", "parser", "reviewer", "weights")}
    return Reranker(features, weights, confidence_of, digest(json.dumps(decides, sort_keys=True)))


def make_features(
    run: SavedRun, generator: Generator, decode: DecodeConfig, parser: Parser, reviewer: Scorer | None
) -> Features:
    """The features of the candidates that a run's generator finds.

    Args:
      run, generator, decode: answer.
      parser: of the answers.
      reviewer: scores prompts given answers; None without such a model.
    """
    reads_neighbours = run.data.retrieve.neighbours > 0
    return Features(
        sampled=decode.temperature > 0,
        to_text=run.data.direction == "code_to_text",
        parses=parser.function(),
        reviewer=reviewer,
        scorer=Scorer(generator, TargetTemplate.of(run.tokenizers)) if reads_neighbours else None,
        length_penalty=decode.length_penalty,
    )
