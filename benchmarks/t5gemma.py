"""T5Gemma: ours against KerasHub on its JAX backend and transformers with torch, in turn, on this machine's CPU.

    python -m venv ../keras-env && ../keras-env/bin/pip install keras-hub==0.32.0 jax==0.10.2 safetensors
    python benchmarks/t5gemma.py --keras ../keras-env/bin/python --workdir runs/quickstart
    python benchmarks/t5gemma.py --keras ../keras-env/bin/python --workdir runs/quickstart --size 60m

All sides have one model of T5Gemma's architecture, float32, vocabulary 8192, from one directory in transformers'
format; ``--size 60m`` is T5Gemma s-s but for the vocabulary (8 + 8 layers, width 512), ``small`` has 4 + 4 layers of
width 256. Before anything is timed, the logits of all sides on padded rows must agree to 1e-3 of the largest.

A train step is forward, backward, clipping at 1.0 and AdamW. Three kinds of work:

- full: rows of 128 + 128 tokens without padding. The rate counts all tokens.
- pairs: a workdir's own training pairs, and the rate counts real tokens only: ours packed as its config says; those of
  transformers padded to the longest pair of a batch, as its collator does; those of KerasHub padded to the rows'
  length, as its preprocessor does. All have as many real tokens in a step, on average, and the same pairs.
- beam, greedy: answers to 16 real sources, exactly 32 new tokens each (the vector of eos is zero in the output table).
  Sources are padded to their longest by ours and transformers, and to the rows' length by KerasHub, whose beam search
  fails on this model: it does not repeat the sources' mask for the beams.

KerasHub trains with ``fit`` over ``--steps`` batches, the others in a plain loop over as many.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import _rounds
import numpy as np

ROWS, BOS, EOS, BEAMS = 8192, 2, 1, 4
RATE, BETAS, DECAY = 1e-4, (0.9, 0.98), 0.01
TASKS = ("full", "pairs", "beam", "greedy")
SIZES = {
    "small": {"width": 256, "layers": 4, "num_heads": 8, "head_width": 32, "feed_forward": 1024, "batch": 32},
    "60m": {"width": 512, "layers": 8, "num_heads": 8, "head_width": 64, "feed_forward": 1024, "batch": 8},
    "tiny": {"width": 32, "layers": 2, "num_heads": 2, "head_width": 16, "feed_forward": 64, "batch": 2},
}


def hf_config(size: str) -> dict[str, Any]:
    """T5Gemma's config.json for a size."""
    shape = SIZES[size]
    ids = {"pad_token_id": 0, "eos_token_id": EOS, "bos_token_id": BOS, "vocab_size": ROWS}
    half = {
        **ids,
        "model_type": "t5_gemma_module",
        "hidden_size": shape["width"],
        "intermediate_size": shape["feed_forward"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["num_heads"],
        "num_key_value_heads": shape["num_heads"],
        "head_dim": shape["head_width"],
        "query_pre_attn_scalar": shape["head_width"],
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
        "layer_types": ["sliding_attention", "full_attention"] * (shape["layers"] // 2),
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dropout_rate": 0.0,
        "initializer_range": 0.02,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
    }
    top = {"model_type": "t5gemma", "is_encoder_decoder": True, "dropout_rate": 0.0, "tie_word_embeddings": True}
    return {**ids, **top, "encoder": half, "decoder": half}


def prepare(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Writes the model and what all sides read: full rows, batches of real pairs, prompts, and rows to compare on."""
    import jax
    from _reference import workdir_experiment, workdir_pairs
    from safetensors.numpy import save_file
    from train_step import padded_batches

    from t2c_jax.interop import t5gemma
    from t2c_jax.interop.source_config import model_config
    from t2c_jax.models.definition import Definition

    values, shape = hf_config(options.size), SIZES[options.size]
    config, draw = model_config(t5gemma, values), np.random.default_rng(0)
    params = jax.device_get(Definition(config, ROWS).init(jax.random.key(0)))
    params = jax.tree.map(lambda leaf: leaf * draw.uniform(0.7, 1.4, leaf.shape).astype(np.float32), params)
    params["embedding"]["embedding"][EOS] = 0.0
    save_file(t5gemma.params_to_huggingface(config, params), directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps({**values, "architectures": ["T5GemmaForConditionalGeneration"]}))
    length = 16 if options.tiny else 128
    data = workdir_experiment(options).data
    facts: dict[str, Any] = {}
    tokens = workdir_pairs(options)
    batches = list(itertools.islice(padded_batches(tokens, data, facts), 4 if options.tiny else 24))

    def wide(parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        lengths = (data.encoder_length, data.encoder_length, data.decoder_length)
        fills = (0, 0, -100)
        return tuple(
            np.pad(part, ((0, 0), (0, wanted - part.shape[1])), constant_values=fill)
            for part, wanted, fill in zip(parts, lengths, fills, strict=True)
        )

    source, mask, target = (np.stack(parts) for parts in zip(*map(wide, batches), strict=True))
    new = 4 if options.tiny else 32
    chosen = 2 if options.tiny else 16
    flat, there = source.reshape(-1, source.shape[2]), mask.reshape(-1, mask.shape[2])
    np.savez(
        directory / "work.npz",
        full_source=draw.integers(3, ROWS, (shape["batch"], length)),
        full_target=draw.integers(3, ROWS, (shape["batch"], length)),
        pairs_source=source,
        pairs_mask=mask,
        pairs_target=target,
        prompts=flat[:chosen],
        prompts_mask=there[:chosen],
        new=np.array(new),
        compared_source=draw.integers(3, ROWS, (3, 12)),
        compared_mask=np.arange(12) < np.array([[12], [5], [9]]),
        compared_target=draw.integers(3, ROWS, (3, 10)),
    )
    return {**facts, "parameters": sum(leaf.size for leaf in jax.tree.leaves(params))}


def shifted(target: np.ndarray) -> np.ndarray:
    """What the decoder is fed."""
    return np.pad(np.maximum(target, 0), ((0, 0), (1, 0)), constant_values=BOS)[:, :-1]


def compared(logits_BTV: Any) -> list[float]:
    """Some numbers that tell whether two models are the same."""
    found = np.asarray(logits_BTV, np.float32)
    return [*found[:, :, ::97].ravel().tolist(), *np.log(np.exp(found).sum(-1)).ravel().tolist()]


def longest(mask: np.ndarray) -> int:
    """Columns in which something is real."""
    return int(mask.any(0).sum())


def ours(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """Our steps and searches."""
    from dataclasses import replace

    import jax
    import jax.numpy as jnp
    from _reference import workdir_experiment, workdir_pairs
    from train_step import step_task, unpacked

    from t2c_jax.config import DataConfig, DecodeConfig, Experiment, OptimizerConfig, TrainConfig
    from t2c_jax.data import pipeline
    from t2c_jax.decode.programs import search_function
    from t2c_jax.interop import t5gemma
    from t2c_jax.interop.source_config import model_config
    from t2c_jax.interop.tensor_table import read_params
    from t2c_jax.interop.weights import Weights
    from t2c_jax.models.definition import Definition

    weights, work = Weights(options.model), np.load(options.model / "work.npz")
    config = replace(model_config(t5gemma, hf_config(options.size)), scan=False)
    params = jax.tree.map(jnp.asarray, read_params(t5gemma.layout(config, weights.shapes), config, weights)[0])
    definition = Definition(config, ROWS)

    def training(data: DataConfig) -> Experiment:
        optimizer = OptimizerConfig(schedule="constant", learning_rate=RATE, clip_norm=1.0, weight_decay=DECAY)
        return Experiment(data=data, model=config, optimizer=optimizer, train=TrainConfig(steps=1_000_000))

    def batch_of(source: np.ndarray, mask: np.ndarray) -> dict[str, jax.Array]:
        rows = {"input_tokens": source * mask, "segment_ids": mask}
        rows["positions"] = np.broadcast_to(np.arange(source.shape[1]), source.shape)
        return {f"encoder_{name}": jnp.asarray(value, jnp.int32) for name, value in rows.items()}

    target = work["compared_target"].astype(np.int32)
    written = unpacked(np.zeros((3, 1), np.int32), target) | {"decoder_input_tokens": shifted(target)}
    batch = {name: jnp.asarray(value) for name, value in written.items()}
    batch |= batch_of(work["compared_source"], work["compared_mask"])

    @jax.jit
    def logits(params: Any, batch: Any) -> jax.Array:
        bound = definition.bind(params)
        return bound.logits(bound.predict(batch).states_BTD)

    facts = {"compared": compared(logits(params, batch))}
    full = [work[name].astype(np.int32) for name in ("full_source", "full_target")]
    length = full[0].shape[1]
    rows = DataConfig(encoder_length=length, decoder_length=length, batch_size=len(full[0]), pack=False)
    rows_of_pairs = workdir_experiment(options).data
    packed = pipeline.Batches.of(workdir_pairs(options), rows_of_pairs, seed=0)
    steps = {
        "full": step_task(training(rows), ROWS, itertools.repeat(unpacked(*full))),
        "pairs": step_task(training(rows_of_pairs), ROWS, (packed.batch(step) for step in itertools.count())),
    }

    def search(beams: int) -> _rounds.Task:
        mask = work["prompts_mask"]
        mask = mask[:, : longest(mask)]
        read, new = batch_of(work["prompts"][:, : mask.shape[1]], mask), int(work["new"])
        settings = DecodeConfig(beam_size=beams, max_tokens=new, length_penalty=1.0 if beams > 1 else 0.0)

        @jax.jit
        def run(params: Any, read: Any) -> Any:
            return search_function([definition], settings, start=BOS, eos=EOS)([params], read).tokens[:, 0]

        def step() -> float:
            tokens = np.asarray(run(params, read))
            assert (tokens != EOS).all()
            return float(tokens.size)

        return step

    return {**steps, "beam": search(BEAMS), "greedy": search(1)}, facts


def keras(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """KerasHub's steps and searches."""
    import keras
    import keras_hub
    from keras_hub.src.utils.transformers import convert_t5gemma
    from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

    assert keras.backend.backend() == "jax"
    work = np.load(options.model / "work.npz")
    backbone = keras_hub.models.T5GemmaBackbone(**convert_t5gemma.convert_backbone_config(hf_config(options.size)))
    with SafetensorLoader(str(options.model)) as loader:
        convert_t5gemma.convert_weights(backbone, loader, hf_config(options.size))
    model = keras_hub.models.T5GemmaSeq2SeqLM(backbone)

    def features(source: np.ndarray, mask: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        parts = {"encoder_token_ids": source * mask, "encoder_padding_mask": mask}
        parts |= {"decoder_token_ids": shifted(target), "decoder_padding_mask": target >= 0}
        return {name: np.asarray(value, np.int32) for name, value in parts.items()}

    check = features(work["compared_source"], work["compared_mask"], work["compared_target"])
    facts = {"compared": compared(model(check)), "keras_hub": keras_hub.__version__}
    optimizer = keras.optimizers.AdamW(RATE, beta_1=BETAS[0], beta_2=BETAS[1], weight_decay=DECAY, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=True)

    def training(batches: list[tuple[np.ndarray, ...]]) -> _rounds.Task:
        rows = len(batches[0][0])
        turns = itertools.cycle(batches)

        def step() -> float:
            chosen = [next(turns) for _ in range(options.steps)]
            source, mask, target = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
            weights = (target >= 0).astype(np.float32)
            model.fit(
                features(source, mask, target),
                np.maximum(target, 0),
                sample_weight=weights,
                batch_size=rows,
                shuffle=False,
                verbose=0,
            )
            return float(mask.sum() + weights.sum())

        return step

    full = (work["full_source"], np.ones_like(work["full_source"]), work["full_target"])
    pairs = [
        tuple(work[f"pairs_{name}"][i] for name in ("source", "mask", "target"))
        for i in range(len(work["pairs_source"]))
    ]
    new = int(work["new"])
    prompts = {"encoder_token_ids": work["prompts"], "encoder_padding_mask": work["prompts_mask"]}
    fed = np.zeros((len(work["prompts"]), new + 1), np.int32)
    fed[:, 0] = BOS
    prompts |= {"decoder_token_ids": fed, "decoder_padding_mask": (np.arange(new + 1) < 1) & (fed >= 0)}
    prompts = {name: np.asarray(value, np.int32) for name, value in prompts.items()}

    def search(sampler: Any) -> _rounds.Task:
        searcher = keras_hub.models.T5GemmaSeq2SeqLM(backbone)
        searcher.compile(sampler=sampler)

        def step() -> float:
            found = np.asarray(searcher.generate(prompts, stop_token_ids=None)["decoder_token_ids"])
            assert found.shape[-1] == new + 1
            return float(len(found) * new)

        return step

    return {"full": training([full]), "pairs": training(pairs), "greedy": search("greedy")}, facts


def transformers(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """Steps and searches by transformers and torch."""
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    work = np.load(options.model / "work.npz")
    load = transformers.T5GemmaForConditionalGeneration.from_pretrained
    model = load(options.model, dtype=torch.float32, attn_implementation="eager")
    answering = load(options.model, dtype=torch.float32, attn_implementation="eager").eval()

    def long(value: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(value)).long()

    target = work["compared_target"]
    with torch.no_grad():
        read = {"input_ids": long(work["compared_source"] * work["compared_mask"])}
        read["attention_mask"] = long(work["compared_mask"])
        found = answering(**read, decoder_input_ids=long(shifted(target))).logits
    facts = {"compared": compared(found)}
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=BETAS, weight_decay=DECAY, fused=True)
    model.train()

    def training(batches: list[tuple[np.ndarray, ...]]) -> _rounds.Task:
        turns = itertools.cycle(batches)

        def step() -> float:
            source, mask, target = next(turns)
            read, written = longest(mask), longest(target >= 0)
            inputs, there, labels = long(source[:, :read]), long(mask[:, :read]), long(target[:, :written])
            fed = long(shifted(target[:, :written]))
            logits = model(input_ids=inputs, attention_mask=there, decoder_input_ids=fed).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return float(there.sum() + (labels >= 0).sum())

        return step

    full = (work["full_source"], np.ones_like(work["full_source"]), work["full_target"])
    pairs = [
        tuple(work[f"pairs_{name}"][i] for name in ("source", "mask", "target"))
        for i in range(len(work["pairs_source"]))
    ]

    def search(beams: int) -> _rounds.Task:
        mask, new = work["prompts_mask"], int(work["new"])
        mask = mask[:, : longest(mask)]
        read = {"input_ids": long(work["prompts"][:, : mask.shape[1]]), "attention_mask": long(mask)}

        def step() -> float:
            with torch.no_grad():
                found = answering.generate(
                    **read, do_sample=False, num_beams=beams, min_new_tokens=new, max_new_tokens=new, use_cache=True
                )
            return float(len(found) * new)

        return step

    return {"full": training([full]), "pairs": training(pairs), "beam": search(BEAMS), "greedy": search(1)}, facts


def same_logits(facts: dict[str, Any]) -> dict[str, float]:
    """The largest difference of each peer's logits from ours, as a share of the largest logit.

    Raises:
      SystemExit: a peer has another model.
    """
    own = np.array(facts["ours"]["compared"])
    found = {}
    for name, told in facts.items():
        found[name] = float(np.abs(np.array(told["compared"]) - own).max() / np.abs(own).max())
        if not found[name] < 1e-3:
            raise SystemExit(f"the logits of {name} differ from ours by {found[name]:.2g} of the largest")
    return found


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.set_defaults(rounds=3, steps=2)
    parser.add_argument("--size", choices=("small", "60m"), default="small", help="(default: %(default)s)")
    parser.add_argument("--keras", help="Python of an environment with keras-hub; without it KerasHub is left out")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="(default: all)")
    parser.add_argument(
        "--workdir", type=Path, default=Path("runs/quickstart"), help="a run's, with tokens (default: %(default)s)"
    )
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.size = "tiny" if options.tiny else options.size
    if options.worker:
        _rounds.serve(build, options, long=True)
        return
    from t2c_jax import console

    about = _rounds.machine()
    results: dict[str, Any] = {"tasks": {}}
    with tempfile.TemporaryDirectory() as directory:
        results["work"] = prepare(Path(directory), options)
        sides = {}
        for task in options.tasks:
            sides[task] = [_rounds.ours(f"t2c_jax {task}", task=task)]
            sides[task].append(_rounds.Side(f"transformers + torch {task}", "transformers", task))
            if options.keras and task != "beam":
                root = str(Path(__file__).resolve().parents[1])
                environment = (("KERAS_BACKEND", "jax"), ("TF_CPP_MIN_LOG_LEVEL", "3"), ("PYTHONPATH", root))
                side = _rounds.Side(f"KerasHub on JAX {task}", "keras", task, environment, python=options.keras)
                sides[task].append(side)
        everything = [side for task in options.tasks for side in sides[task]]
        turns, facts = _rounds.measure(everything, options.rounds, ("--model", directory))
    results["logits"] = same_logits(facts)
    console.say(f"logits differ from ours by at most {max(results['logits'].values()):.1e} of the largest")
    for task in options.tasks:
        own, *others = sides[task]
        unit = {"full": "tokens", "pairs": "real tokens"}.get(task, "new tokens")
        results["tasks"][task] = _rounds.compare(
            f"T5Gemma {options.size}: {task}", unit, turns, options.steps, others, own
        )
    _rounds.report(options, about, results)


def build(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """A worker's tasks."""
    tasks, facts = {"ours": ours, "keras": keras, "transformers": transformers}[options.worker](options)
    tasks = {name: tasks[name] for name in options.tasks if name in tasks}
    if options.worker == "keras":  # fit takes all steps at once
        tasks |= {name: per_turn(tasks[name], options) for name in ("full", "pairs") if name in tasks}
    return tasks, facts


def per_turn(task: _rounds.Task, options: argparse.Namespace) -> _rounds.Task:
    """A task that does all steps of a turn when the first is asked for."""
    calls = itertools.count()

    def step() -> float:
        return task() if next(calls) % options.steps == 0 else 0.0

    return step


if __name__ == "__main__":
    main()
