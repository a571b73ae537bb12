"""Train step and memory of low-rank adapters against full training, in turn, on this machine's CPU.

    python benchmarks/lora.py

The model is that of configs/quickstart.py, with rows of random tokens, without packing. A step is one optimizer step of
that config. Adapters have rank 8 (``--rank``) on the default targets. Memory is what XLA reserves for the compiled
step: arguments (state and batch), results and temporaries. The size of a checkpoint is that of its arrays.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import _rounds
from _reference import shape
from train_step import full_batch, unpacked

from t2c_jax import config as configs
from t2c_jax import console
from t2c_jax.config import DataConfig, Experiment, LoraConfig

QUICKSTART = Path(__file__).resolve().parents[1] / "configs" / "quickstart.py"


def experiment(options: argparse.Namespace, rank: int) -> tuple[Experiment, int]:
    """The quickstart, or a toy, with adapters or without; and its vocabulary."""
    whole = configs.load(str(QUICKSTART))
    vocab_size = whole.tokenizer.vocab_size
    if options.tiny:
        model, vocab_size = shape(tiny=True)
        whole = replace(whole, model=model, data=DataConfig(encoder_length=16, decoder_length=24, batch_size=4))
    return replace(whole, lora=LoraConfig(rank=rank)), vocab_size


def side(options: argparse.Namespace, rank: int) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """A train step, compiled once, and what it holds."""
    import jax

    from t2c_jax import mesh as meshes
    from t2c_jax.train.setup import compiled_for
    from t2c_jax.train.state import checkpoint_state

    settings, vocab_size = experiment(options, rank)
    compiled = compiled_for(settings, vocab_size, devices=jax.devices()[:1])
    batch = meshes.global_batch(unpacked(*full_batch(settings.data, vocab_size)), compiled.mesh)
    state = compiled.init()
    with jax.set_mesh(compiled.mesh):
        program = jax.jit(compiled.step_function, donate_argnums=0).lower(state, batch).compile()
    memory: Any = program.memory_analysis()
    facts = {
        "trained": compiled.trained,
        "parameters": compiled.parameters,
        "step_bytes": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "state_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
        "checkpoint_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(checkpoint_state(state))),
    }

    def step() -> float:
        nonlocal state
        state, metrics = program(state, batch)
        return float(metrics["weight"] + metrics["source_tokens"])

    return {"step": step}, facts


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.add_argument("--rank", type=int, default=8, help="of the adapters (default: %(default)s)")
    options = parser.parse_args()
    if options.worker:
        _rounds.serve(lambda given: side(given, given.rank if given.worker == "adapters" else 0), options)
        return
    about = _rounds.machine()
    own, full = _rounds.ours(f"adapters of rank {options.rank}", "adapters"), _rounds.ours("full training", "full")
    turns, facts = _rounds.measure([own, full], options.rounds)
    sides = _rounds.compare("train step", "tokens", turns, options.steps, [full], own)
    rows = [
        (
            name,
            f"{fact['trained']:,} of {fact['parameters']:,}",
            *(f"{fact[f'{key}_bytes'] / 1e6:,.1f} MB" for key in ("state", "temporary", "step", "checkpoint")),
        )
        for name, fact in ((own.name, facts["adapters"]), (full.name, facts["full"]))
    ]
    console.table("memory", ("", "trained", "state", "temporaries", "step in all", "checkpoint"), rows)
    _rounds.report(options, about, {"sides": sides, "facts": facts})


if __name__ == "__main__":
    main()
