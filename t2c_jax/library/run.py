"""A trained run, opened from Python: answers, likelihoods, embeddings and scores."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2c_jax import config as configs
from t2c_jax import runtime
from t2c_jax.config import DecodeConfig, Experiment
from t2c_jax.errors import UserError, nearest
from t2c_jax.library.run_stages import check_imported
from t2c_jax.workdir import Workdir

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict

    from t2c_jax.checkpoints.bases import Bases
    from t2c_jax.checkpoints.saved_run import SavedRun
    from t2c_jax.corpus.pairs import Pair
    from t2c_jax.data.infilling import InfillPrompts
    from t2c_jax.decode.embedder import Embedder
    from t2c_jax.decode.generator import Answer, Generator
    from t2c_jax.decode.rerank.reranker import Reranker
    from t2c_jax.decode.scorer import Likelihood, Scorer
    from t2c_jax.train.hooks import Hook
    from t2c_jax.train.loop import TrainResult

Advance = Callable[[int], object]


def _ignored(count: int) -> None:
    """Reports no progress."""


@dataclass(frozen=True)
class Scores:
    """What ``Run.evaluate`` found.

    Attributes:
      metrics: the score of each metric over all pairs, in the metric's unit; NaN if it applies to none of them.
      answers: the model's answer to each prompt, in the order of the pairs.
    """

    metrics: dict[str, float]
    answers: list[Answer]


class Run:
    """A checkpoint of a run, or the mean of several. Its parameters are read when they are first needed.

    Attributes:
      config: of the run.
      workdir: its directory.
      bases: keeps the arrays that other runs read too; None, the default, for arrays of its own. Set it before
        anything is read.
    """

    def __init__(
        self,
        config: Experiment,
        workdir: Workdir,
        step: int | None = None,
        *,
        others: Sequence[str] = (),
        average: int = 1,
    ) -> None:
        """Reads nothing yet; ``open_run`` has the arguments."""
        self.config, self.workdir = config, workdir
        self._step, self._others, self._average = step, others, average
        self._rerankers: dict[str, Reranker] = {}
        self.bases: Bases | None = None

    @functools.cached_property
    def _saved(self) -> SavedRun:
        from t2c_jax.checkpoints.saved_run import SavedRun

        return SavedRun.of(self.config, self.workdir)

    @functools.cached_property
    def _loaded(self) -> tuple[list[str], Generator]:
        from t2c_jax.decode.loading import load_generator

        config = self.config
        step, others = self._step, self._others
        return load_generator(self._saved, config.decode, config.mesh, step, others, self._average, self.bases)

    @property
    def generator(self) -> Generator:
        """What answers."""
        return self._loaded[1]

    def reranker(self, decode: DecodeConfig) -> Reranker:
        """The reranker of a search.

        Raises:
          UserError: none was fitted for it.
        """
        from t2c_jax.decode.rerank.reranker import load_reranker, reranker_name

        members, generator = self._loaded
        name = reranker_name(members, self._average, decode)
        if name not in self._rerankers:
            self._rerankers[name] = load_reranker(
                self._saved, members, generator, decode, self.config.mesh, self._average
            )
        return self._rerankers[name]

    @functools.cached_property
    def embedder(self) -> Embedder:
        """What makes vectors.

        Raises:
          UserError: the run has no embedding head.
        """
        from t2c_jax.decode.embedder import Embedder, check_embeds

        check_embeds(self.config.model, self.workdir.name)
        generator, data = self.generator, self.config.data
        return Embedder(
            generator.members[0], self._saved.tokenizers, data, self.config.decode.batch_size, generator.mesh
        )

    @functools.cached_property
    def infill_prompts(self) -> InfillPrompts | None:
        """What reads code with a gap; None for a run that was not trained to fill it."""
        from t2c_jax.data.infilling import infill_prompts

        return infill_prompts(self._saved.tokenizers, self.config.data, self.config.model)

    @functools.cached_property
    def _scorer(self) -> Scorer:
        from t2c_jax.data.templates import TargetTemplate
        from t2c_jax.decode.scorer import Scorer

        return Scorer(self.generator, TargetTemplate.of(self._saved.tokenizers))

    @property
    def step(self) -> int:
        """The step of the checkpoint."""
        return int(self._loaded[0][0])

    @functools.cached_property
    def answer_language(self) -> str:
        """The language of the answers: the most frequent one of the corpus, ``text``, or empty if it is unknown."""
        if self.config.data.direction == "code_to_text":
            return "text"
        card = self.workdir.corpus / "card.json"
        languages: dict[str, int] = json.loads(card.read_text("utf-8"))["languages"] if card.is_file() else {}
        return max(languages, key=lambda language: languages[language], default="")

    def generate(self, prompts: Sequence[str], *, advance: Advance = _ignored, **settings: Any) -> list[Answer]:
        """Answers prompts.

        Args:
          prompts: texts; code if config.data.direction is ``code_to_text``.
          advance: called with the number of prompts that were answered since the last call.
          **settings: fields of config.decode for this call, such as ``beam_size=4`` or ``max_tokens=64``. A
            ``temperature`` implies ``beam_size=1``. Numbers that change no shape, such as ``top_p``, ``samples`` or
            ``seed``, compile nothing anew.

        Returns:
          An answer for each prompt, in their order.

        Raises:
          UserError: an unknown setting, a wrong value, no such checkpoint, or no reranker for this search.
        """
        decode = self._decode(settings)
        reranker = self.reranker(decode) if decode.rerank else None
        answers = self.generator.generate(prompts, decode, advance=advance)
        return answers if reranker is None else reranker(prompts, answers)

    def score(self, pairs: Sequence[tuple[str, str]], *, advance: Advance = _ignored) -> list[Likelihood]:
        """The likelihood of given answers.

        Args:
          pairs: (prompt, answer) each.
          advance: as for ``generate``.

        Returns:
          For each pair the log-probability of the answer given the prompt, and the answer's number of tokens.
        """
        return self._scorer.score(pairs, advance=advance)

    def embed(self, texts: Sequence[str], *, advance: Advance = _ignored) -> np.ndarray:
        """(N, width) float32 unit vectors of texts or code; two that belong together have a large dot product.

        Raises:
          UserError: the run has no embedding head, or it was opened with others.
        """
        if self._others:
            raise UserError("embeddings are of one model; open the run without others")
        return self.embedder.embed(texts, advance)

    def evaluate(
        self,
        pairs: Iterable[tuple[str, str] | Pair],
        *,
        metrics: Sequence[str] = (),
        language: str | None = None,
        risk_accepted: bool = False,
        advance: Advance = _ignored,
        **settings: Any,
    ) -> Scores:
        """Generates an answer to each prompt and scores it against the reference.

        Args:
          pairs: (prompt, reference) each, or ``Pair``s.
          metrics: names of metrics; config.evaluate.metrics by default.
          language: of the references that are not in ``Pair``s; the run's ``answer_language`` by default.
          risk_accepted: let metrics that run the answers do so without isolation, where this machine offers none.
          advance: as for ``generate``.
          **settings: as for ``generate``.

        Raises:
          UserError: there are no pairs, an unknown metric or setting, no such checkpoint, or no sandbox for a metric
            that runs the answers.
        """
        from t2c_jax.corpus.pairs import FILE_KIND, Pair, Source
        from t2c_jax.evaluate.metrics.metric import checked_metrics, evaluated_by
        from t2c_jax.evaluate.prompt_pairs import prompt_pairs
        from t2c_jax.evaluate.samples import samples_of

        evaluate, decode = self.config.evaluate, self._decode(settings)
        chosen = checked_metrics(tuple(metrics) or evaluate.metrics, evaluate, decode, risk_accepted=risk_accepted)
        language = self.answer_language if language is None else language
        made = [
            pair
            if isinstance(pair, Pair)
            else Pair(str(number), *pair, language, FILE_KIND, Source("", "", "", number, number, ""))
            for number, pair in enumerate(pairs, 1)
        ]
        if not made:
            raise UserError("there are no pairs to evaluate on")
        answers = self.generate([pair.text for pair in made], advance=advance, **settings)
        train = prompt_pairs(self.workdir, "train", self.config.data.direction)  # read by metrics that need it
        chosen = tuple(metric.fitted(train) for metric in chosen)
        found, _ = evaluated_by(chosen, made, [answer.candidates for answer in answers], samples_of(answers, decode))
        return Scores(
            {metric.name: metric.score(found[metric.name].sum(axis=0).tolist()) for metric in chosen},
            answers,
        )

    def _decode(self, settings: dict[str, Any]) -> DecodeConfig:
        values = configs.to_dict(self.config)
        for name in settings:
            if name not in values["decode"]:
                raise UserError(f"unknown setting '{name}'{nearest(name, values['decode'])}")
        return configs.from_dict({**values, "decode": {**values["decode"], **configs.drawing(settings)}}).decode


def open_run(
    workdir: str | os.PathLike[str],
    step: int | None = None,
    *,
    overrides: Sequence[str] = (),
    others: Sequence[str] = (),
    average: int = 1,
) -> Run:
    """Opens a run to generate, score, embed and evaluate with one of its checkpoints.

    Args:
      workdir: the directory of a run or of an imported model, or its URL.
      step: the checkpoint; the best one by default.
      overrides: changes to the run's config, such as ``"decode.beam_size=4"``.
      others: ``DIR``, ``DIR@STEP`` or ``@STEP``: checkpoints to average predictions with.
      average: how many of the latest checkpoints up to ``step`` to average the parameters of.

    Raises:
      UserError: there is no run, or its config is wrong.
    """
    from t2c_jax.checkpoints.inherit import load

    runtime.quiet()
    directory = Workdir(workdir)
    if not directory.config.is_file():
        raise UserError(f"'{directory.name}' holds no run")
    check_imported(directory)
    return Run(load(str(directory.config), overrides), directory, step, others=others, average=average)


def train_run(
    config: Experiment | ConfigDict, workdir: str | os.PathLike[str], hooks: Sequence[Hook] = ()
) -> TrainResult:
    """Trains a run, after the stages that it needs: mine, tokenizer and prepare. Finished stages are skipped.

    Args:
      config: from ``load_config``, or a ConfigDict from ``default_config``.
      workdir: a directory or a URL. Training resumes from its last checkpoint.
      hooks: called during training: ``hook(function, every=100)``, or a subclass of ``Hook``.

    Returns:
      What the training came to: steps, parameters, dev loss, ...

    Raises:
      UserError: the config is wrong or does not fit the workdir or the devices, or another run uses the workdir.
    """
    from t2c_jax.library import run_stages as stages

    runtime.quiet()
    experiment = config if isinstance(config, Experiment) else configs.from_dict(config)
    directory = Workdir(workdir)
    check_imported(directory, writes=True)
    with stages.writing(experiment, directory, trains=True):
        for stage in (stages.mine, stages.tokenizer, stages.prepare):
            stage(experiment, directory)
        return stages.train(experiment, directory, hooks=hooks)
