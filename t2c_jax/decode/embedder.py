"""Texts and code to unit vectors, by the embedding head of a run that learnt one.

Letters: N sources, P width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.config import DataConfig, ModelConfig
from t2c_jax.data.prompt_encoder import EncodedPrompt, TokenPrompts
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.decode.generator import Member
from t2c_jax.errors import UserError
from t2c_jax.models.adapted import bound
from t2c_jax.tokenizers.loading import Tokenizers


def check_embeds(model: ModelConfig, run: str) -> None:
    """Checks that a run has an embedding head, before a checkpoint is read.

    Raises:
      UserError: it has none.
    """
    if "embedding" not in model.output_heads:
        raise UserError(
            f"the run in '{run}' has no embedding head; train one with config.model.output_heads=embedding and a"
            " contrastive task in config.data.tasks"
        )


class Embedder:
    """A model's embedding head, over its encoder."""

    def __init__(self, member: Member, tokenizers: Tokenizers, data: DataConfig, batch_size: int, mesh: Mesh) -> None:
        """Compiles nothing yet.

        Args:
          member: a model with an embedding head, and its parameters.
          tokenizers: of its run.
          data: of its run.
          batch_size: sources that are embedded together.
          mesh: where the parameters are.
        """
        contrastive = [task.prefix for task in data.tasks.values() if task.objective == "contrastive"]
        template = SourceTemplate.of(tokenizers, contrastive[0] if contrastive else "")
        self._prompts = TokenPrompts(
            tokenizers.source, template, data.encoder_length, has_placeholders=data.placeholders
        )
        self._params, self._mesh = member.params, mesh
        unit = mesh.shape["data"] * mesh.shape["fsdp"]
        self._rows = -(-batch_size // unit) * unit

        def embed(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
            return bound(member.definition, params).embed(batch)[:, 0]

        self._embed = jax.jit(embed, out_shardings=meshes.replicated(mesh))

    def read(self, sources: Sequence[str]) -> list[EncodedPrompt]:
        """The sources, encoded; those longer than config.data.encoder_length are cut at their end."""
        return self._prompts.encode(sources)

    def embed(self, sources: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> np.ndarray:
        """(N, P) float32 unit vectors of sources."""
        return self.embed_read(self.read(sources), advance)

    def embed_read(
        self, read: Sequence[EncodedPrompt], advance: Callable[[int], object] = lambda _: None
    ) -> np.ndarray:
        """``embed`` of sources that were encoded."""
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
