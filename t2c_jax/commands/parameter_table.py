"""A model's parameters by block, with counts, shapes and which of them train.

Only shapes are computed, so this works for a model that is too large for the machine.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax

from t2c_jax import console
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.origin import modules_to_save
from t2c_jax.config import Experiment
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition, names
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train.optimizer import Optimizer
from t2c_jax.workdir import Workdir

LEVELS = 3  # names of a parameter's path that make its block: encoder.blocks.attention


@dataclass(frozen=True)
class Block:
    """A table's row.

    Attributes:
      name: what the paths of its parameters begin with.
      copies: how many equal blocks are stacked in each array; 1 where none are.
      shapes: of each array by the rest of its path, one copy's alone.
      parameters: numbers in all copies.
      trained: those of them that config.optimizer.rates, or config.lora, leaves to train.
    """

    name: str
    copies: int
    shapes: dict[str, tuple[int, ...]]
    parameters: int
    trained: int


def inspect(experiment: Experiment, workdir: Workdir | None = None) -> dict[str, Any]:
    """Shows the model that the config describes, and which checkpoints the workdir has; allocates no parameter.

    Args:
      experiment: describes the model.
      workdir: its tokenizer gives the vocabulary, where there is one; else config.tokenizer.vocab_size does.

    Returns:
      ``vocabulary``, ``parameters``, ``trained``, ``frozen``, ``blocks`` (``Block`` each, with ``share``) and, in a
      workdir, ``checkpoints``: ``steps`` and the ``best`` of them.

    Raises:
      UserError: the tokenizer or a checkpoint is damaged, or config.optimizer.rates freezes everything.
    """
    tokenizers = None
    if workdir is not None and workdir.tokenizer.is_dir():
        tokenizers = Tokenizers.load(workdir.tokenizer, experiment.data.direction)
    vocabulary = experiment.tokenizer.vocab_size if tokenizers is None else tokenizers.target.vocab_size
    blocks = list(_blocks(experiment, Definition(experiment.model, vocabulary)))
    total, trained = sum(block.parameters for block in blocks), sum(block.trained for block in blocks)
    result: dict[str, Any] = {
        "vocabulary": vocabulary,
        "parameters": total,
        "trained": trained,
        "frozen": total - trained,
        "blocks": [{**dataclasses.asdict(block), "share": block.parameters / total} for block in blocks],
    }
    if workdir is not None:
        result["checkpoints"] = {"steps": [], "best": None}
        if workdir.checkpoints.is_dir() and tokenizers is not None:
            checkpoints = Checkpoints(workdir.checkpoints, {}, read_only=True)
            result["checkpoints"] = {"steps": checkpoints.steps(), "best": checkpoints.best()}
            checkpoints.close()
    _show(experiment, blocks, result)
    return result


def _blocks(experiment: Experiment, definition: Definition) -> Iterator[Block]:
    params, info = definition.abstract_params(), definition.parameter_info()
    optimised, optimised_info = params, info
    if experiment.lora.rank:
        config, modules = experiment.lora, modules_to_save(experiment.origin, experiment.lora, definition)
        init = functools.partial(lora.init, info=info, config=config, modules_to_save=modules)
        optimised = jax.eval_shape(init, jax.random.key(0), params)
        adapters = lora.divided(optimised, modules)[0]
        optimised_info = lora.parameter_info(info, config, modules)
        named = lora.divided(optimised_info, modules)[0]
        params, info = {**params, "adapters": adapters}, {**info, "adapters": named}
    trainable = jax.eval_shape(Optimizer(experiment.optimizer, optimised_info).trainable, optimised)
    sizes = {path: leaf.size for path, leaf in _flat(trainable)}
    if experiment.lora.rank:
        sizes |= {("adapters", *path): sizes.pop(path, 0) for path, _ in _flat(adapters)}
    leading = {path: one.leading for path, one in _flat(info)}
    groups: dict[tuple[tuple[str, ...], int], list[tuple[tuple[str, ...], Any]]] = {}
    for path, leaf in _flat(params):
        copies = leaf.shape[0] if leading[path] else 1
        head = path[: min(LEVELS, len(path) - 1)] or path
        groups.setdefault((head, copies), []).append((path, leaf))
    for (head, copies), leaves in groups.items():
        yield Block(
            name=".".join(head),
            copies=copies,
            shapes={".".join(path[len(head) :]) or path[-1]: leaf.shape[leading[path] :] for path, leaf in leaves},
            parameters=sum(leaf.size for _, leaf in leaves),
            trained=sum(sizes.get(path, 0) for path, _ in leaves),
        )


def _flat(tree: Any, **options: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, **options):
        yield names(path), leaf


def _show(experiment: Experiment, blocks: list[Block], result: dict[str, Any]) -> None:
    total, model = result["parameters"], experiment.model
    rows = [
        (
            f"{block.name} x {block.copies}" if block.copies > 1 else block.name,
            _shapes(block.shapes),
            f"{block.parameters:,}",
            f"{block.parameters / total:.1%}",
            _trained(block.trained, block.parameters),
        )
        for block in blocks
    ]
    rows.append(("total", "", f"{total:,}", "100.0%", _trained(result["trained"], total)))
    title = f"{model.encoder.type} to {model.decoder.type}, vocabulary {result['vocabulary']:,}"
    console.table(title, ("", "shapes", "parameters", "share", "trained"), rows)
    if result["frozen"]:
        frozen_by = "config.lora" if experiment.lora.rank else "config.optimizer.rates"
        console.say(f"{result['trained']:,} trained, {result['frozen']:,} frozen by {frozen_by}")
    if "checkpoints" in result:
        steps, best = result["checkpoints"]["steps"], result["checkpoints"]["best"]
        listed = ", ".join(f"{step} (best)" if step == best else str(step) for step in steps)
        console.say(f"checkpoints: {listed or 'none'}")


def _trained(trained: int, total: int) -> str:
    return "all" if trained == total else "frozen" if not trained else f"{trained:,}"


def _shapes(shapes: dict[str, tuple[int, ...]]) -> str:
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, shape in shapes.items():
        alike.setdefault(shape, []).append(name)
    return "\n".join(f"{', '.join(group)} {'x'.join(map(str, shape))}" for shape, group in alike.items())
