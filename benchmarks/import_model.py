"""Import of T5Gemma s-s or T5 base: seconds, and peak memory against the size of the weights.

    python benchmarks/import_model.py
    python benchmarks/import_model.py --model t5

A directory as ``save_pretrained`` writes it is made with random weights: of T5Gemma s-s (312,517,632 parameters, of
which 262 million are two tables of 256,000 rows) or of T5 v1.0 base (222,903,552), float32 or ``--dtype``. ``t2c
import`` then runs in its own process, round after round, each into a new workdir. Its peak memory is the kernel's
(VmHWM): in total, and beyond that of the same process after its imports. The files are in the page cache, so the time
on disk is that of writing the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _rounds
import jax
import ml_dtypes
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from t2c_jax import console
from t2c_jax.config import ModelConfig
from t2c_jax.interop import t5, t5gemma
from t2c_jax.interop.source_config import model_config
from t2c_jax.models.definition import Definition
from t2c_jax.models.transformer.config import T5DecoderConfig, T5EncoderConfig

DTYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def shape(kind: str, *, tiny: bool) -> tuple[ModelConfig, int]:
    """T5 base or T5Gemma s-s and its rows, or a toy."""
    blocks: dict[str, Any]
    if kind == "t5gemma":
        blocks = {"layers": 8, "num_heads": 8, "head_width": 64, "feed_forward": 1024}
        width, rows = 512, 256_000
    else:
        blocks = {"layers": 12, "num_heads": 12, "head_width": 64, "feed_forward": 3072}
        width, rows = 768, 32128
    if tiny:
        blocks = {"layers": 2, "num_heads": 2, "head_width": 16, "feed_forward": 64}
        width, rows = 32, 384
    if kind == "t5":
        encoder = T5EncoderConfig(**blocks, activation="relu")
        return ModelConfig(encoder=encoder, decoder=T5DecoderConfig(**blocks, activation="relu"), width=width), rows
    half = {**blocks, "vocab_size": rows, "hidden_size": width, "intermediate_size": blocks["feed_forward"]}
    half |= {"num_hidden_layers": blocks["layers"], "num_attention_heads": blocks["num_heads"]}
    half |= {"num_key_value_heads": blocks["num_heads"], "head_dim": blocks["head_width"]}
    for name in blocks:
        half.pop(name)
    values = {"model_type": kind, "encoder": {**half, "query_pre_attn_scalar": 64}}
    return model_config(t5gemma, {**values, "decoder": values["encoder"]}), rows


def write_model(directory: Path, kind: str, config: ModelConfig, rows: int, dtype: str) -> int:
    """A model directory with random weights; returns the bytes of its weights."""
    draw = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: draw.standard_normal(leaf.shape, np.float32) * np.float32(0.02),
        Definition(config, rows).abstract_params(),
    )
    family: Any = {"t5": t5, "t5gemma": t5gemma}[kind]
    arrays = {name: array.astype(DTYPES[dtype]) for name, array in family.params_to_huggingface(config, params).items()}
    save_file(arrays, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(family.config_to_huggingface(config, rows)))
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"\u2581{i}", -float(i)) for i in range(rows - 3))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=[("</s>", 1)])
    tokenizer.save(str(directory / "tokenizer.json"))
    return sum(array.nbytes for array in arrays.values())


def peak_bytes() -> int:
    """The most memory that this process has held at once, from the kernel."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def work(source: Path, workdir: Path) -> None:
    """The measured process: loads everything, then imports."""
    from t2c_jax import runtime

    runtime.quiet()
    import jax

    from t2c_jax.interop.import_model import import_model
    from t2c_jax.workdir import Workdir

    jax.devices()
    before, started = peak_bytes(), time.perf_counter()
    result = import_model(source, Workdir(workdir))
    seconds = time.perf_counter() - started
    answer = {"seconds": seconds, "before": before, "peak": peak_bytes(), "parameters": result["parameters"]}
    print(json.dumps(answer))


def rounds(options: argparse.Namespace, base: Path) -> tuple[list[dict[str, Any]], int]:
    """What each round measured, and the bytes of the weights."""
    source = base / "model"
    source.mkdir()
    weights = write_model(source, options.model, *shape(options.model, tiny=options.tiny), options.dtype)
    found = []
    with console.progress("rounds", options.rounds) as bar:
        for index in range(options.rounds):
            command = [sys.executable, __file__, "--worker", str(source), "--into", str(base / f"run_{index}")]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"the import ended with status {done.returncode}; its output is above")
            found.append(json.loads(done.stdout.splitlines()[-1]))
            bar.advance()
    return found, weights


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.set_defaults(rounds=3, steps=1)
    parser.add_argument(
        "--model", choices=("t5", "t5gemma"), default="t5gemma", help="whose shape (default: %(default)s)"
    )
    parser.add_argument(
        "--dtype", choices=list(DTYPES), default="float32", help="of the weights (default: %(default)s)"
    )
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(Path(options.worker), options.into)
        return
    about = _rounds.machine()
    with tempfile.TemporaryDirectory() as base:
        found, weights = rounds(options, Path(base))
    loaded = found[0]["parameters"] * 4
    seconds = statistics.median(one["seconds"] for one in found)
    peak = max(one["peak"] for one in found)
    beyond = max(one["peak"] - one["before"] for one in found)
    results = {
        "parameters": found[0]["parameters"],
        "file_bytes": weights,
        "float32_bytes": loaded,
        "seconds": seconds,
        "peak_bytes": peak,
        "peak_bytes_beyond_libraries": beyond,
        "ratio_to_float32": beyond / loaded,
    }
    console.table(
        f"t2c import of {results['parameters']:,} parameters, {options.dtype}",
        ("", "value"),
        [
            ("seconds, median", f"{seconds:.1f}"),
            ("weights in the file", f"{weights / 1e6:,.0f} MB"),
            ("weights as float32", f"{loaded / 1e6:,.0f} MB"),
            ("peak memory of the process", f"{peak / 1e6:,.0f} MB"),
            ("peak beyond the loaded libraries", f"{beyond / 1e6:,.0f} MB"),
            ("that against the float32 weights", f"{beyond / loaded:.2f} x"),
        ],
    )
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
