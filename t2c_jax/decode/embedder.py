"""Texts and code to unit vectors, by the embedding head of a run that learnt one.

Letters: N sources, P width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from t2c_jax import mesh as meshes
from t2c_jax.config import Experiment
from t2c_jax.data.prompt_encoder import TokenPrompts
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.decode.loading import load_generator
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir


class Embedder:
    """A checkpoint's embedding head, over its encoder."""

    def __init__(self, experiment: Experiment, workdir: Workdir, step: int | None = None) -> None:
        """Reads a checkpoint, the best one by default; compiles nothing yet.

        Raises:
          UserError: the run has no embedding head, or there is no such checkpoint.
        """
        if "embedding" not in experiment.model.output_heads:
            raise UserError(
                f"the run in '{workdir.name}' has no embedding head; train one with"
                " config.model.output_heads=embedding and a contrastive task in config.data.tasks"
            )
        _, generator = load_generator(experiment, workdir, step)
        member = generator.members[0]
        contrastive = [task.prefix for task in experiment.data.tasks.values() if task.objective == "contrastive"]
        tokenizers = Tokenizers.load(workdir.tokenizer, experiment.data.direction)
        template = SourceTemplate.of(tokenizers, contrastive[0] if contrastive else "")
        self._prompts = TokenPrompts(tokenizers.source, template, experiment.data.encoder_length)
        self._params, self._mesh = member.params, generator.mesh
        self._rows = experiment.decode.batch_size
        unit = generator.mesh.shape["data"] * generator.mesh.shape["fsdp"]
        self._rows = -(-self._rows // unit) * unit

        def embed(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
            return member.definition.bind(params).embed(batch)[:, 0]

        self._embed = jax.jit(embed, out_shardings=meshes.replicated(generator.mesh))

    def embed(self, sources: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> np.ndarray:
        """(N, P) float32 unit vectors; sources longer than config.data.encoder_length are cut at their end."""
        read = self._prompts.encode(sources)
        order = sorted(range(len(read)), key=lambda row: -read[row].size)  # of like lengths together: few shapes
        found: list[np.ndarray | None] = [None] * len(read)
        for start in range(0, len(order), self._rows):
            rows = order[start : start + self._rows]
            batch = self._prompts.batch([read[row] for row in rows], self._rows)
            mine = meshes.local_rows(self._mesh, self._rows)
            with jax.set_mesh(self._mesh):
                here = meshes.global_batch({name: values[mine] for name, values in batch.items()}, self._mesh)
                vectors = np.asarray(jax.device_get(self._embed(self._params, here)))
            for row, vector in zip(rows, vectors[: len(rows)], strict=True):
                found[row] = vector
            advance(len(rows))
        return np.stack([vector for vector in found if vector is not None])
