"""Pre-training on code, with or without text: the objectives of CodeT5 (Wang et al. 2021, 3.2) and CodeT5+ (2023).

t2c run --config configs/pretrain.py:cpu --workdir runs/pretrained
t2c run --config configs/pretrain.py:base --workdir runs/base --config.corpus.sources=/data/repositories
t2c run --config configs/pretrain.py:xl@v5e-256 --workdir /mnt/bucket/xl --config.corpus.sources=/data/repositories

``cpu`` has 12 million parameters, for an evening on two cores. Its sources are the standard library and the installed
packages. ``small`` (61M), ``base`` (223M) and ``large`` (750M) have about the sizes of CodeT5, for accelerators and
sources of your own. ``xl`` (2.8B) and ``xxl`` (11B) have the shapes and the batch of T5 v1.1. The mesh follows from the
size and the devices; ``xl@v5e-256`` names one of the machines below and takes its mesh, remat policy and microbatches.

Name the sets that will be scored in config.corpus.held_out. Pairs that share a line with them are dropped, and the
card of the corpus counts them.

The default mixture is span corruption, masked identifiers, and pairs in both directions. An argument such as
``cpu-spans+tags`` selects other tasks of the list below. Two overrides add a task, such as
--config.data.tasks.middle.objective=fill_in_the_middle --config.data.tasks.middle.prefix='Fill: '.
"""

import sysconfig
from typing import NamedTuple

from ml_collections import ConfigDict

from t2c_jax import config as schema

# Width, layers per side, heads, head width, feed-forward, batch rows. A gated feed-forward has three kernels where that
# of CodeT5 has two, so it is narrower for the same number of parameters (as in T5 v1.1).
SHAPES = {
    "cpu": (256, 4, 8, 32, 1024, 16),
    "small": (512, 6, 8, 64, 1408, 512),
    "base": (768, 12, 12, 64, 2048, 512),
    "large": (1024, 24, 16, 64, 2816, 512),
    "xl": (2048, 24, 32, 64, 5120, 2048),
    "xxl": (4096, 24, 64, 64, 10240, 2048),
}


class Run(NamedTuple):
    """How a size runs on a machine: the mesh, what the backward pass computes again, and parts of a batch."""

    data: int
    fsdp: int
    tensor: int = 1
    remat: str = "none"
    microbatches: int = 1


# By machine: v5e-8 has 8 chips of 16 GiB, v5e-256 has 256, and v5p-128, which is counted in cores, has 64 of 95 GiB.
# Remat and the number of microbatches are the smallest that fit according to `t2c compile`. xl on eight chips gathers
# all parameters for each microbatch, so there few microbatches with full remat are faster. The state is split only as
# far as needed. xxl does not fit eight chips of v5e: it would need 22 GiB on each.
RUNS = {
    "v5e-8": {
        "small": Run(8, 1, microbatches=4),
        "base": Run(8, 1, microbatches=8),
        "large": Run(2, 4, remat="dots", microbatches=8),
        "xl": Run(1, 8, remat="full", microbatches=8),
    },
    "v5e-256": {
        "small": Run(256, 1),
        "base": Run(256, 1),
        "large": Run(64, 4),
        "xl": Run(16, 16, remat="dots"),
        "xxl": Run(4, 64, remat="full"),
    },
    "v5p-128": {
        "small": Run(64, 1),
        "base": Run(64, 1),
        "large": Run(64, 1),
        "xl": Run(16, 4, remat="dots"),
        "xxl": Run(4, 16, remat="dots", microbatches=2),
    },
}
TASKS = {
    "spans": {"objective": "span_corruption", "weight": 1.0, "prefix": "Restore: "},
    "identifiers": {"objective": "masked_identifiers", "weight": 1.0, "prefix": "Name: "},
    "generate": {"objective": "text_to_code", "weight": 2.0, "prefix": "Generate: "},
    "describe": {"objective": "code_to_text", "weight": 1.0, "prefix": "Describe: "},
    "tags": {"objective": "identifier_tagging", "weight": 1.0, "prefix": "Tag: "},
    "match": {"objective": "contrastive", "weight": 1.0, "prefix": "Match: "},
}
MIXTURE = ("spans", "identifiers", "generate", "describe")
HEADS = {"tags": "tagging", "match": "embedding"}


def get_config(argument: str = "cpu") -> ConfigDict:
    """``SIZE``, ``SIZE-TASK+TASK``, and either with ``@MACHINE`` behind it."""
    named, at, machine = argument.partition("@")
    size, _, chosen = named.partition("-")
    tasks = chosen.split("+") if chosen else MIXTURE
    if size not in SHAPES or not set(tasks) <= TASKS.keys():
        raise ValueError(f"{argument}: write one of {', '.join(SHAPES)}, or SIZE-TASK+TASK of {', '.join(TASKS)}")
    if at and size not in RUNS.get(machine, {}):
        machines = [name for name, runs in RUNS.items() if size in runs]
        raise ValueError(f"{argument}: {size} has a mesh for {', '.join(machines) or 'no machine'}; or leave @ out")
    width, layers, heads, head_width, feed_forward, batch_size = SHAPES[size]
    on_cpu = size == "cpu"
    config = schema.default()
    config.corpus.sources = ("python:stdlib", sysconfig.get_paths()["purelib"])
    config.corpus.code_only = ("function", "method")
    config.corpus.dev_share = config.corpus.test_share = 0.02
    config.tokenizer.vocab_size = 8192 if on_cpu else 32_000
    config.tokenizer.split_spaces = True  # an identifier has the same pieces everywhere, so that it can be masked

    config.data.tasks = ConfigDict({name: {**schema.to_dict(schema.TaskConfig()), **TASKS[name]} for name in tasks})
    config.model.output_heads = tuple(HEADS[name] for name in tasks if name in HEADS)
    config.data.prefix = TASKS["generate"]["prefix"]
    config.data.encoder_length = 256 if on_cpu else 512
    config.data.decoder_length = 256 if on_cpu else 512
    config.data.batch_size = batch_size

    config.model.width = width
    blocks = {"layers": layers, "num_heads": heads, "head_width": head_width, "feed_forward": feed_forward}
    config.model.encoder = schema.architecture("encoder", "transformer", **blocks)
    config.model.decoder = schema.architecture("decoder", "transformer", **blocks)
    config.model.scan = not on_cpu
    config.model.dropout = 0.0  # no example is seen often enough to overfit
    config.model.copy = on_cpu  # a small model has not seen long names often enough to spell them
    if not on_cpu:
        config.model.dtype = "bfloat16"
        config.model.remat = "none" if size in ("small", "base") else "dots" if size == "large" else "full"
        config.mesh.fsdp = config.mesh.tensor = 0
    if at:
        run = RUNS[machine][size]
        config.mesh.data, config.mesh.fsdp, config.mesh.tensor = run.data, run.fsdp, run.tensor
        config.model.remat, config.train.microbatches = run.remat, run.microbatches

    config.optimizer.schedule = "cosine"
    config.optimizer.learning_rate = 1e-3 if on_cpu else 3e-4
    config.optimizer.warmup_steps = 200 if on_cpu else 2000
    config.train.steps = 5000 if on_cpu else 200_000
    config.train.eval_every = 500 if on_cpu else 5000
    config.train.save_every = 500 if on_cpu else 5000
    config.train.eval_batches = 64
    config.train.samples = 0
    config.decode.beam_size = 1
    config.decode.max_tokens = 256
    config.evaluate.max_examples = 128
    return config
