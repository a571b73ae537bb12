"""The run whose vectors say which sources are similar (config.data.retrieve.encoder)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.checkpoint import Checkpoints, checkpoint_identity
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import MeshConfig, RetrieveConfig
from t2c_jax.decode.embedder import Embedder, check_embeds
from t2c_jax.decode.generator import Member
from t2c_jax.errors import UserError
from t2c_jax.mesh import Workload
from t2c_jax.workdir import at_step

_BATCH = 16  # the same for training pairs and for prompts, so that equal sources get equal vectors


class RunEncoder:
    """Texts to unit vectors by a checkpoint of another run. Its parameters are read when they are first needed.

    Each process computes all vectors by itself, on its own devices.

    Attributes:
      name: the run's workdir.
      step: of the checkpoint.
      identity: of the checkpoint (``checkpoint_identity``).
    """

    def __init__(self, run: str, step: int | None = None) -> None:
        """Checks that it can embed, and reads no parameters yet.

        Args:
          run: ``DIR`` or ``DIR@STEP``.
          step: the checkpoint where ``run`` names none; None for the best one.

        Raises:
          UserError: there is no such run or checkpoint, or it has no embedding head.
        """
        try:
            self.name, named = at_step(run)
            if not self.name:
                raise UserError(f"'{run}' names no run; write DIR or DIR@STEP")
            self._run = SavedRun.open(self.name)
            check_embeds(self._run.model, self.name)
            checkpoints = Checkpoints(self._run.workdir.checkpoints, {}, read_only=True)
            chosen, steps = named or step or checkpoints.best(), checkpoints.steps()
            checkpoints.close()
            if chosen is None or chosen not in steps:
                have = f"it has {', '.join(map(str, steps))}" if steps else "finish its training"
                raise UserError(f"'{self.name}' has no checkpoint{'' if chosen is None else f' {chosen}'}; {have}")
        except UserError as error:
            raise UserError(f"config.data.retrieve.encoder: {error}") from None
        self.step = chosen
        self.identity = checkpoint_identity(self._run.workdir.checkpoints / str(chosen))

    @functools.cached_property
    def _embedder(self) -> Embedder:
        run = self._run
        workload = Workload(run.definition.nbytes(), run.definition.axis_sizes())
        mesh = meshes.make_mesh(MeshConfig(fsdp=0), workload, jax.local_devices())
        _, params = run.restore(mesh, self.step)
        return Embedder(Member(run.definition, params), run.tokenizers, run.data, _BATCH, mesh)

    def embed(self, sources: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> np.ndarray:
        """``Embedder.embed``."""
        return self._embedder.embed(sources, advance)


def encoder_of(retrieve: RetrieveConfig) -> RunEncoder | None:
    """config.data.retrieve.encoder; None where it names none, or no neighbours are asked for.

    Raises:
      UserError: as ``RunEncoder``.
    """
    return RunEncoder(retrieve.encoder) if retrieve.neighbours and retrieve.encoder else None
