"""Compiles the presets for TPU slices that are not attached: what fits, and an upper bound of the speed.

    python benchmarks/tpu_compile.py
    python benchmarks/tpu_compile.py --presets large xl --machines v5e-256
    python benchmarks/tpu_compile.py --t5x
    python benchmarks/tpu_compile.py --t5gemma
    python benchmarks/tpu_compile.py --t5gemma --lora 16 --presets t5gemma2-1b-1b --machines v5e-8

Needs libtpu (pip install t2c-jax[tpu]), but no TPU. Each row is the real train step of
``configs/pretrain.py:SIZE@MACHINE`` as ``t2c compile`` compiles it: bytes of a chip against its memory, and the
utilisation that the chip's peaks allow.

With ``--t5gemma`` it is fine-tuning of T5Gemma and T5Gemma 2 at 512 + 512 tokens, all of a model's parameters or, with
``--lora RANK``, adapters alone. T5Gemma's shapes are those of its authors' configurations, T5Gemma 2's those of Gemma 3
of the same size.

With ``--t5x`` it is T5X's scalable T5 v1.1 XL instead (2.85 billion parameters: width 2048, 24 + 24 layers, 32 heads of
64, gated GELU of 5120, relative bias, vocabulary 32128, untied; AdamW in float32, bfloat16 compute, 512 + 512 tokens),
on v5e:16x16 with parameters split over all chips, compared with the temporaries of T5X's own step at the same batch and
remat, compiled ahead of time for the same slice. T5X's "minimal" keeps matrix products without batch axes; our "dots"
those that leave the residual stream. Ours are reported twice: as ``temp_size_in_bytes``, which T5X's figures may be
(except the one that was refused), and as live temporaries at the peak, which a chip has to hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from _reference import both

from t2c_jax import config as configs
from t2c_jax import console
from t2c_jax.config import DataConfig, Experiment, LoraConfig, MeshConfig, ModelConfig, TokenizerConfig
from t2c_jax.interop import t5gemma
from t2c_jax.interop.source_config import model_config
from t2c_jax.models.transformer.config import T5DecoderConfig, T5EncoderConfig

CONFIG = Path(__file__).parents[1] / "configs" / "pretrain.py"
# Google names v5p by its cores, two to a chip.
MACHINES = {"v5e-8": "v5e:2x4", "v5e-256": "v5e:16x16", "v5p-128": "v5p:4x4x4", "v6e-8": "v6e:2x4"}
PRESETS = ("small", "base", "large", "xl", "xxl")
LEFT_OUT = {("xxl", "v5e-8")}  # its optimizer state alone is more than the machine has
# Rows a chip, T5X's policy, our remat, and GiB of temporaries of T5X's step.
T5X = (
    (8, "minimal", "dots", 11.7),
    (8, "full", "full", 2.1),
    (16, "full", "full", 3.5),
    (24, "full", "full", 4.9),
    (4, "none", "none", 25.3),
)
# Width, feed-forward, layers, heads, heads of keys, head width, window of each size.
GEMMA_2 = {"2b": (2304, 9216, 26, 8, 4, 256, 4096), "9b": (3584, 14336, 42, 16, 8, 256, 4096)}
GEMMA_3 = {
    "270m": (640, 2048, 18, 4, 1, 256, 512),
    "1b": (1152, 6912, 26, 4, 1, 256, 512),
    "4b": (2560, 10240, 34, 8, 4, 256, 1024),
}
# Family, sizes of the halves, pieces.
T5GEMMA = {
    "t5gemma2-270m-270m": ("t5gemma2", "270m", "270m", 262_144),
    "t5gemma2-1b-1b": ("t5gemma2", "1b", "1b", 262_144),
    "t5gemma2-4b-4b": ("t5gemma2", "4b", "4b", 262_144),
    "t5gemma-2b-2b": ("t5gemma", "2b", "2b", 256_000),
    "t5gemma-9b-2b": ("t5gemma", "9b", "2b", 256_000),
}
TINY = ModelConfig(**both({"layers": 1, "num_heads": 2, "head_width": 8, "feed_forward": 32}), width=16, dropout=0.0)


def row(experiment: Experiment, vocab_size: int, topology: str) -> dict[str, Any]:
    """One compile."""
    from t2c_jax.aot import program
    from t2c_jax.aot.topology import topology as described
    from t2c_jax.models.definition import Definition
    from t2c_jax.train.setup import trainable_of

    started = time.monotonic()
    # Adapters are for a base that has all parameters; no run needs to be there.
    trainable = trainable_of(experiment, Definition(experiment.model, vocab_size), frozenset())
    training = program.Training(trainable, experiment.train, experiment.data, experiment.mesh)
    found = program.train_step(training, described(topology))
    return {
        "topology": topology,
        "remat": experiment.model.remat,
        "microbatches": experiment.train.microbatches,
        **program.json_of(found),
        "compile_seconds": round(time.monotonic() - started, 1),
    }


def presets(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The presets, each on the machines that can hold it."""
    rows = []
    for machine in options.machines:
        for size in options.presets or PRESETS:
            if (size, machine) in LEFT_OUT:
                continue
            experiment = configs.load(f"{CONFIG}:{size}@{machine}", ())
            console.say(f"compiling {size} for {machine}")
            rows.append(
                {"preset": size, "machine": machine} | row(experiment, vocabulary(experiment), MACHINES[machine])
            )
            bound = rows[-1]["roofline"]["bound"] if rows[-1]["roofline"] else "it does not fit"
            console.say(f"{' '.join(map(str, told(rows[-1])))}: {bound}")
    console.table(
        "Presets on TPU slices: the train step of one chip",
        ("", "mesh", "remat", "rows", "parts", "GiB", "utilised"),
        [(f"{item['preset']}@{item['machine']}", *told(item)) for item in rows],
    )
    return rows


def vocabulary(experiment: Experiment) -> int:
    """What the model is compiled for where no tokenizer is trained yet."""
    return experiment.tokenizer.vocab_size


def told(item: dict[str, Any]) -> list[object]:
    """A row's cells."""
    return [
        "x".join(map(str, item["mesh"].values())),
        item["remat"],
        item["rows"],
        item["microbatches"],
        f"{gib(item['total'])} of {item['available'] / 2**30:.0f}",
        f"{item['roofline']['utilisation']:.0%}" if item["roofline"] else "-",
    ]


def gib(size: float) -> str:
    """Bytes in GiB."""
    return f"{size / 2**30:.2f}"


def gemma(name: str) -> tuple[ModelConfig, int]:
    """The model of a T5Gemma, as its import makes it, and its pieces."""
    family, reader, writer, pieces = T5GEMMA[name]
    of_stack = ("hidden_size", "intermediate_size", "num_hidden_layers")
    keys = (*of_stack, "num_attention_heads", "num_key_value_heads", "head_dim", "sliding_window")
    shapes = GEMMA_3 if family == "t5gemma2" else GEMMA_2
    read, written = ({**dict(zip(keys, shapes[size], strict=True)), "vocab_size": pieces} for size in (reader, writer))
    encoder = {"text_config": read} if family == "t5gemma2" else read
    values = {"model_type": family, "encoder": encoder, "decoder": written, "vocab_size": pieces}
    return model_config(t5gemma, values), pieces


def t5gemmas(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Fine-tuning of the T5Gemmas: parameters and rows over all chips, everything in a block computed again."""
    rows = []
    for machine in options.machines:
        for name in [name for name in T5GEMMA if not options.presets or name in options.presets]:
            model, pieces = gemma(name)
            chips = math.prod(map(int, MACHINES[machine].partition(":")[2].split("x")))
            experiment = Experiment(
                data=DataConfig(encoder_length=512, decoder_length=512, batch_size=2 * chips),
                model=dataclasses.replace(model, dtype="bfloat16", remat="full", dropout=0.0),
                mesh=MeshConfig(data=1, fsdp=-1),
                lora=LoraConfig(rank=options.lora),
            )
            console.say(f"compiling {name} for {machine}")
            rows.append({"preset": name, "machine": machine} | row(experiment, pieces, MACHINES[machine]))
            bound = rows[-1]["roofline"]["bound"] if rows[-1]["roofline"] else "it does not fit"
            console.say(f"{name}@{machine}: {' '.join(map(str, told(rows[-1])))}: {bound}")
    console.table(
        "T5Gemma on TPU slices: the train step of one chip",
        ("", "mesh", "remat", "rows", "parts", "GiB", "utilised"),
        [(f"{item['preset']}@{item['machine']}", *told(item)) for item in rows],
    )
    return rows


def t5x() -> list[dict[str, Any]]:
    """T5 v1.1 XL at T5X's batches and policies."""
    blocks: dict[str, Any] = {"layers": 24, "num_heads": 32, "head_width": 64, "feed_forward": 5120}
    model = ModelConfig(
        encoder=T5EncoderConfig(**blocks),
        decoder=T5DecoderConfig(**blocks),
        width=2048,
        tied_embeddings=False,
        dropout=0.0,
        dtype="bfloat16",
    )
    rows = []
    for rows_a_chip, policy, remat, theirs in T5X:
        experiment = Experiment(
            tokenizer=TokenizerConfig(vocab_size=32_128),
            data=DataConfig(encoder_length=512, decoder_length=512, batch_size=256 * rows_a_chip),
            model=dataclasses.replace(model, remat=remat),  # type: ignore[arg-type]
            mesh=MeshConfig(data=1, fsdp=-1),
        )
        console.say(f"compiling {rows_a_chip} rows a chip, remat={remat}")
        found = row(experiment, 32_128, "v5e:16x16")
        found |= {"t5x_policy": policy, "t5x_temporaries": int(theirs * 2**30)}
        found["ratio"] = found["memory"]["temporaries"] / found["t5x_temporaries"]
        rows.append(found)
        console.say(f"{gib(found['memory']['temporaries'])} GiB of temporaries, T5X {theirs}")
    console.table(
        "T5 v1.1 XL on v5e:16x16, fully sharded: GiB of temporaries of a chip",
        ("rows a chip", "T5X's policy", "ours", "T5X", "ours, alive", "ratio", "temp_size", "utilisation"),
        [
            (
                item["rows"],
                item["t5x_policy"],
                item["remat"],
                gib(item["t5x_temporaries"]),
                gib(item["memory"]["temporaries"]),
                f"{item['ratio']:.2f}",
                gib(item["temp_size"]) if item["temp_size"] else "refused",
                f"{item['roofline']['utilisation']:.0%}" if item["roofline"] else "does not fit",
            )
            for item in rows
        ],
    )
    return rows


def tiny() -> list[dict[str, Any]]:
    """A toy model on two chips."""
    data = DataConfig(encoder_length=16, decoder_length=16, batch_size=4)
    experiment = Experiment(data=data, model=TINY, mesh=MeshConfig(data=1, fsdp=-1))
    return [{"preset": "tiny", "machine": "v5e-2"} | row(experiment, 512, "v5e:1x2")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=(*PRESETS, *T5GEMMA), help="which (default: all)")
    parser.add_argument("--machines", nargs="+", choices=MACHINES, default=tuple(MACHINES), help="on which slices")
    parser.add_argument("--t5x", action="store_true", help="T5 v1.1 XL beside T5X's step")
    parser.add_argument("--t5gemma", action="store_true", help="T5Gemma and T5Gemma 2")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="with --t5gemma: train adapters alone")
    parser.add_argument("--tiny", action="store_true", help="a toy shape, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    made = tiny() if options.tiny else t5x() if options.t5x else t5gemmas(options) if options.t5gemma else None
    result = {"rows": presets(options) if made is None else made}
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
