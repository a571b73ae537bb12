"""Decoding: ours against CTranslate2 (beam 4) and transformers.generate (greedy), in turn, on this machine's CPU.

    python benchmarks/decode.py
    XLA_PYTHON_CLIENT_MEM_FRACTION=0.4 python benchmarks/decode.py --size base

On a machine with a GPU both searches are compared with transformers' there; ``--size`` takes a preset of
configs/pretrain.py, all in bfloat16.

A step is one batch: 16 prompts of 128 tokens, exactly 64 new tokens each, in float32 at the reference shape: 4 + 4
layers, width 256, gated GELU feed-forward of 1024, 8 heads of 32, vocabulary 8192. The rate counts the tokens of the
best hypotheses. Weights are random. The vector of eos is zero in every table, so that eos is never among the best and
all 64 tokens are generated. The peers share one T5, which CTranslate2 gets through its own converter; ours has its
default positions (RoPE). A step includes encoding the prompts on all sides. Compilation of ours is reported separately.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import _rounds
import numpy as np
from _reference import shape, size_option, t5

from t2c_jax import console

BEAMS, LENGTH_PENALTY = 4, 0.6


def prompts(options: argparse.Namespace) -> tuple[np.ndarray, int]:
    """Source ids without padding, the same on all sides, and how many tokens to generate."""
    vocab_size = shape(tiny=options.tiny, size=options.size)[1]
    batch, length, new = (2, 8, 4) if options.tiny else (16, 128, 64)
    return np.random.default_rng(0).integers(3, vocab_size, (batch, length)).astype(np.int32), new


def ours(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """Our two searches."""
    import jax
    import jax.numpy as jnp

    from t2c_jax.config import DecodeConfig
    from t2c_jax.decode.programs import search_function
    from t2c_jax.models.definition import Definition
    from t2c_jax.tokenizers.sentencepiece import EOS

    definition = Definition(*shape(tiny=options.tiny, size=options.size))
    params = jax.jit(definition.init)(jax.random.key(0))
    params["embedding"]["embedding"] = params["embedding"]["embedding"].at[EOS].set(0.0)
    source, new = prompts(options)

    def search(beams: int) -> Any:
        def run(params: Any, tokens_BS: jax.Array) -> Any:
            batch = {
                "encoder_input_tokens": tokens_BS,
                "encoder_segment_ids": jnp.ones_like(tokens_BS),
                "encoder_positions": jnp.broadcast_to(jnp.arange(tokens_BS.shape[1])[None], tokens_BS.shape),
            }
            settings = DecodeConfig(beam_size=beams, max_tokens=new, length_penalty=LENGTH_PENALTY)
            return search_function([definition], settings)([params], batch)

        return jax.jit(run)

    def task(beams: int) -> _rounds.Task:
        started = time.perf_counter()
        compiled = search(beams).lower(params, source).compile()
        facts["compile_seconds"][f"beam {beams}" if beams > 1 else "greedy"] = time.perf_counter() - started

        def step() -> float:
            tokens = np.asarray(compiled(params, source).tokens)[:, 0]
            assert (tokens != EOS).all()
            return float(tokens.size)

        return step

    facts: dict[str, Any] = {"compile_seconds": {}}
    return {"beam": task(BEAMS), "greedy": task(1)}, facts


def ctranslate2(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """CTranslate2's two searches."""
    from ctranslate2 import Translator

    source, new = prompts(options)
    translator = Translator(
        str(options.converted), device="cpu", compute_type="float32", inter_threads=1, intra_threads=options.threads
    )
    rows = [[piece(token) for token in row] for row in source.tolist()]

    def task(beams: int) -> _rounds.Task:
        def step() -> float:
            found = translator.translate_batch(
                rows,
                beam_size=beams,
                length_penalty=LENGTH_PENALTY,
                max_decoding_length=new,
            )
            assert all(len(result.hypotheses[0]) == new for result in found)
            return float(len(found) * new)

        return step

    return {"beam": task(BEAMS), "greedy": task(1)}, {}


def transformers(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """The two searches by transformers."""
    import torch

    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = endless_t5(options).to(device)
    source, new = prompts(options)

    def task(beams: int) -> _rounds.Task:
        ranks = {"length_penalty": LENGTH_PENALTY} if beams > 1 else {}

        def step() -> float:
            inputs = torch.from_numpy(source).long().to(device)
            found = model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=False,
                num_beams=beams,
                **ranks,
                use_cache=True,
                max_new_tokens=new,
            ).cpu()
            assert found.shape == (len(source), new + 1)
            return float(len(source) * new)

        return step

    return {"beam": task(BEAMS), "greedy": task(1)}, {}


def endless_t5(options: argparse.Namespace) -> Any:
    """The peers' T5, randomly initialised, that never says eos."""
    import torch

    torch.manual_seed(0)
    config, vocab_size = shape(tiny=options.tiny, size=options.size)
    model = t5(config, vocab_size).eval()
    with torch.no_grad():
        model.shared.weight[1] = 0.0
    return model.to(getattr(torch, config.dtype))


def piece(token: int) -> str:
    """CTranslate2 knows tokens by name."""
    return ("<pad>", "</s>", "<unk>")[token] if token < 3 else f"t{token}"


def convert(options: argparse.Namespace, directory: Path) -> None:
    """Writes the T5 in CTranslate2's format, float32; its converter's loader needs no tokenizer."""
    from ctranslate2.converters.transformers import T5Loader

    spec = T5Loader().get_model_spec(endless_t5(options))
    pieces = [piece(token) for token in range(shape(tiny=options.tiny)[1])]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.bos_token = spec.config.decoder_start_token = "<pad>"
    spec.config.eos_token, spec.config.unk_token = "</s>", "<unk>"
    spec.validate()
    spec.optimize()
    spec.save(str(directory))


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.add_argument("--converted", type=Path, help=argparse.SUPPRESS)
    size_option(parser)
    options = parser.parse_args()
    if options.worker:
        workers = {"ours": ours, "ctranslate2": ctranslate2, "transformers": transformers}
        _rounds.serve(workers[options.worker], options)
        return
    about = _rounds.machine()
    beam, greedy = (_rounds.ours(f"t2c_jax, {task}", task=task) for task in ("beam", "greedy"))
    with tempfile.TemporaryDirectory() as directory:
        if about["gpu"]:
            beam_peers = [_rounds.Side("transformers, beam", "transformers", "beam")]
            greedy_peers = [_rounds.Side("transformers, greedy", "transformers", "greedy")]
        else:
            convert(options, Path(directory))
            beam_peers = _rounds.peers("CTranslate2, beam", "ctranslate2", "beam")
            greedy_peers = _rounds.peers("transformers, greedy", "transformers", "greedy")
            greedy_peers += _rounds.peers("CTranslate2, greedy", "ctranslate2", "greedy")
        sides = [beam, *beam_peers, greedy, *greedy_peers]
        turns, facts = _rounds.measure(sides, options.rounds, ["--converted", directory])
    results = {
        "beam": _rounds.compare(f"beam {BEAMS}", "tokens", turns, options.steps, beam_peers, beam),
        "greedy": _rounds.compare("greedy", "tokens", turns, options.steps, greedy_peers, greedy),
        "compile_seconds": facts["ours"]["compile_seconds"],
    }
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in results["compile_seconds"].items())
    console.say(f"compiling ours, once for a shape and not counted: {seconds}")
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
