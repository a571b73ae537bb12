"""Decodes dev pairs during training: samples for TensorBoard, and config.train.stop_metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t2c_jax import console
from t2c_jax.checkpoints.checkpoint import Ranking
from t2c_jax.config import DataConfig, DecodeConfig, EvaluateConfig, ModelConfig, TrainConfig
from t2c_jax.evaluate.evaluator import score_answers, select_pairs
from t2c_jax.evaluate.metrics.metric import metric_named
from t2c_jax.evaluate.prompt_pairs import prompt_pairs
from t2c_jax.evaluate.samples import sample_count, samples_of
from t2c_jax.train.hooks import Hook, LoopState, Rank
from t2c_jax.workdir import Workdir


@dataclass(frozen=True)
class Decoded:
    """Answers to dev pairs.

    Attributes:
      samples: some of them, each text, reference and prediction, for TensorBoard.
      score: config.train.stop_metric of the answers; None where that is the loss.
      lower_is_better: whether a lower score is better.
      examples: how many answers were scored.
    """

    samples: Sequence[Mapping[str, str]]
    score: float | None = None
    lower_is_better: bool = False
    examples: int = 0


class DecodedDevPairs(Hook):
    """Decodes dev pairs with the current parameters; the score ranks checkpoints, and patience goes by it."""

    rank = Rank.EVALUATION

    def __init__(self, decode: Callable[[Any], Decoded], metric: str, every: int) -> None:
        """Decodes nothing yet.

        Args:
          decode: answers dev pairs, given parameters.
          metric: the name of the score.
          every: steps between two calls; 0 for the last step alone.
        """
        self._decode, self._metric, self.every = decode, metric, every

    def __call__(self, run: LoopState) -> None:
        """Decodes and logs."""
        decoded = self._decode(run.params)
        run.writer.samples(run.step, decoded.samples)
        if decoded.score is not None:
            run.log("dev_decoded", {self._metric: decoded.score, "examples": float(decoded.examples)})
            console.say(f"step {run.step}: {self._metric} {decoded.score:.2f} on {decoded.examples:,} dev pairs")
            run.ranking = Ranking(self._metric, decoded.score if decoded.lower_is_better else -decoded.score)
        run.timer.mark("evaluation")


def decoding_hooks(
    workdir: Workdir,
    model: ModelConfig,
    data: DataConfig,
    decode_config: DecodeConfig,
    train: TrainConfig,
    evaluate: EvaluateConfig,
    *,
    risk_accepted: bool = False,
) -> list[Hook]:
    """The hook that decodes as config.train says; none if it asks for none, or there are no dev pairs.

    Raises:
      UserError: config.train.stop_metric cannot be computed here.
    """
    decode = dev_decoder(workdir, model, data, decode_config, train, evaluate, risk_accepted=risk_accepted)
    return [] if decode is None else [DecodedDevPairs(decode, train.stop_metric, train.eval_every)]


def dev_decoder(
    workdir: Workdir,
    model: ModelConfig,
    data: DataConfig,
    decode_config: DecodeConfig,
    train: TrainConfig,
    evaluate: EvaluateConfig | None = None,
    *,
    risk_accepted: bool = False,
) -> Callable[[Any], Decoded] | None:
    """A function from parameters to decoded dev pairs; None if the config asks for none, or there are no pairs."""
    import jax

    from t2c_jax.decode.generator import Member
    from t2c_jax.decode.loading import make_generator, open_neighbours
    from t2c_jax.models.definition import Definition
    from t2c_jax.tokenizers.loading import Tokenizers

    metric = None
    if train.stop_metric != "loss":
        train_pairs = prompt_pairs(workdir, "train", data.direction)
        metric = metric_named(train.stop_metric, evaluate, risk_accepted=risk_accepted).fitted(train_pairs)
    examples = 0 if metric is None else train.stop_examples
    wanted = max(examples, train.samples)
    selected = select_pairs(prompt_pairs(workdir, "dev", data.direction), wanted) if wanted else []
    if not selected:
        return None
    pairs, shown = (select_pairs(selected, count) if count else [] for count in (examples, train.samples))
    texts = list(dict.fromkeys(pair.text for pair in (*pairs, *shown)))
    search = decode_config.greedy() if metric is not None and metric.candidates == 1 else decode_config
    if metric is not None:
        metric.check(sample_count(search))
    if data.retrieve.neighbours:  # a missing index or encoder is found before training
        open_neighbours(workdir, Tokenizers.load(workdir.tokenizer, data.direction), data)
    made: list[Any] = []  # one generator for all calls, so that its search is compiled once

    def decode(params: Any) -> Decoded:
        if not made:
            tokenizers = Tokenizers.load(workdir.tokenizer, data.direction)
            member = Member(Definition(model, tokenizers.target.vocab_size), params)
            mesh = jax.tree.leaves(params)[0].sharding.mesh
            made.append(make_generator([member], tokenizers, data, search, mesh, workdir))
        made[0].params = [params]
        answers = dict(zip(texts, made[0].generate(texts), strict=True))
        samples = [{"text": pair.text, "reference": pair.code, "prediction": answers[pair.text].best} for pair in shown]
        if metric is None:
            return Decoded(samples)
        own = [answers[pair.text] for pair in pairs]
        read = samples_of(own, search) if metric.every_sample else [answer.candidates for answer in own]
        score = score_answers(metric, pairs, read)
        return Decoded(samples, score, metric.lower_is_better, len(pairs))

    return decode
