"""A run on disk: the parameters of its checkpoints, as the run itself would answer with them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from t2c_jax import config as configs
from t2c_jax.checkpoints.bases import Bases
from t2c_jax.checkpoints.checkpoint import Checkpoints, checkpoint_identity
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.checkpoints.origin import Origin, adapted_params, restore_params
from t2c_jax.checkpoints.pytrees import abstract_on
from t2c_jax.config import DataConfig, Experiment, LoraConfig, ModelConfig, OriginConfig
from t2c_jax.errors import UserError
from t2c_jax.models.adapted import SharedSteps
from t2c_jax.models.definition import Definition, Params
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir


@dataclass(frozen=True)
class SavedRun:
    """Where the parameters of a run are, and the sections of its config that say what they are.

    Attributes:
      workdir: holds the tokenizers and the checkpoints.
      model, data, lora, origin: sections of the run's config.
      keep: config.train.keep, the number of latest checkpoints.
    """

    workdir: Workdir
    model: ModelConfig
    data: DataConfig
    lora: LoraConfig
    origin: OriginConfig
    keep: int

    @classmethod
    def of(cls, experiment: Experiment, workdir: Workdir) -> SavedRun:
        """The run in ``workdir``, by its config."""
        return cls(
            workdir, experiment.model, experiment.data, experiment.lora, experiment.origin, experiment.train.keep
        )

    @classmethod
    def open(cls, directory: str) -> SavedRun:
        """The run in a directory, by the config that is there.

        Raises:
          UserError: there is no run.
        """
        workdir = Workdir(directory)
        if not workdir.config.is_file():
            raise UserError(f"'{workdir.name}' holds no run")
        return cls.of(configs.load(str(workdir.config)), workdir)

    @functools.cached_property
    def tokenizers(self) -> Tokenizers:
        """The run's tokenizers.

        Raises:
          UserError: they are missing or damaged.
        """
        return Tokenizers.load(self.workdir.tokenizer, self.data.direction)

    @functools.cached_property
    def definition(self) -> Definition:
        """The run's model."""
        return Definition(self.model, self.tokenizers.target.vocab_size)

    def restore(self, mesh: Mesh, step: int | None = None, average: int = 1) -> tuple[int, Params]:
        """The parameters of a checkpoint; under adapters, merged into their base.

        Args:
          mesh: where they are placed.
          step: the checkpoint; by default the best one, or the latest one of several.
          average: more than 1 for the mean of that many checkpoints, the latest up to ``step``.

        Returns:
          The step, and the parameters.

        Raises:
          UserError: there is no such checkpoint, or it is of another model or tokenizer.
        """
        with self._opened(mesh) as (checkpoints, base, abstract):
            steps = checkpoints.steps()
            step = self._chosen(checkpoints, step, average)

            def params_at(step: int) -> Any:
                read = functools.partial(checkpoints.restore_params, step)
                return restore_params(read, abstract, self.definition, self.lora, base)

            params = params_at(step)
            if average != 1:
                latest = [at for at in steps[-self.keep :] if at <= step]  # an old best one is none of them
                if not 1 <= average <= len(latest):
                    raise UserError(
                        f"--average {average}: '{self.workdir.checkpoints}' has {len(latest)} of the latest checkpoints"
                        f" up to step {step}; a run keeps config.train.keep={self.keep} of them"
                    )
                add = jax.jit(lambda total, more: jax.tree.map(jnp.add, total, more), donate_argnums=0)
                for other in latest[-average:-1]:
                    params = add(params, params_at(other))
                params = jax.jit(lambda total: jax.tree.map(lambda leaf: leaf / average, total), donate_argnums=0)(
                    params
                )
        return step, params

    def restore_over(self, bases: Bases, mesh: Mesh, step: int | None = None) -> tuple[int, Any, SharedSteps]:
        """The parameters of a checkpoint; under adapters over their base, and not merged.

        Args:
          bases: keeps the arrays that several models read.
          mesh: where they are placed.
          step: the checkpoint; by default the best one.

        Returns:
          The step, the parameters, and the layout for steps that all models over the base share.

        Raises:
          UserError: as ``restore``.
        """
        with self._opened(mesh) as (checkpoints, base, abstract):
            step = self._chosen(checkpoints, step, 1)
            read = functools.partial(checkpoints.restore_params, step)
            if base is None:
                identity = checkpoint_identity(self.workdir.checkpoints / str(step))
                return step, bases.params(identity, abstract, read), bases.steps(identity)
            params = adapted_params(read, abstract, self.definition, self.lora, base, bases)
            return step, params, bases.steps(base.identity)

    @contextlib.contextmanager
    def _opened(self, mesh: Mesh) -> Iterator[tuple[Checkpoints, Origin | None, Params]]:
        """The checkpoints, the base under adapters, and shapes, dtypes and shardings of the parameters."""
        base = Origin(self.origin) if self.lora.rank else None
        expected = metadata(self.model, self.tokenizers.digest, self.lora, "" if base is None else base.identity)
        checkpoints = Checkpoints(self.workdir.checkpoints, expected, read_only=True)
        yield checkpoints, base, abstract_on(self.definition.abstract_params(), self.definition.shardings(mesh))
        checkpoints.close()
        if base is not None:
            base.close()

    def _chosen(self, checkpoints: Checkpoints, step: int | None, average: int) -> int:
        steps = checkpoints.steps()
        if step is None:
            step = checkpoints.best() if average == 1 else max(steps, default=None)
        if step is None or step not in steps:
            have = f"it has {', '.join(map(str, steps))}" if steps else "run t2c train first"
            raise UserError(
                f"'{self.workdir.checkpoints}' has no checkpoint{'' if step is None else f' {step}'}; {have}"
            )
        return step
