"""Train step: ours against transformers' T5 with torch's AdamW, in turn, on this machine's CPU or its GPU.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --padded --workdir runs/quickstart
    python benchmarks/train_step.py --other ../other
    XLA_PYTHON_CLIENT_MEM_FRACTION=0.4 python benchmarks/train_step.py --size base --batch 16

A step is one optimizer step (forward, backward, clipping at 1.0, AdamW) in float32 at the reference shape: 4 + 4
layers, width 256, gated GELU feed-forward of 1024, 8 heads of 32, vocabulary 8192. The peer's AdamW is the fused one,
as in transformers' Trainer. ``--size`` takes a preset of configs/pretrain.py instead, in bfloat16 over float32
parameters, the peer under torch.autocast. Where JAX and torch find a GPU, both are on it; there the peer is also
measured with torch.compile, and the peak memory of each allocator is reported.

Without ``--padded``, the batch is 32 x (128 + 128) tokens without padding (of a preset 32 x (512 + 512)), the same for
both. With ``--padded`` it is a workdir's own training pairs, and the rate counts real source and target tokens only:
ours packed as the workdir's config says, the peer's in random batches padded to their longest pair (as
DataCollatorForSeq2Seq does, labels -100) in a plain torch loop without Trainer's own overhead, with as many pairs in a
batch as make the same number of real tokens a step. Pairs that are too long for our rows are dropped on both sides. A
step includes making the batch on both sides.

Without ``--padded``, the share of the machine's matrix-product rate is reported as well: (model FLOPs of a step / its
time) over the best rate of large square products of the model's dtype in the same rounds. Model FLOPs are 3 times those
of the forward pass (the backward pass has two products for each), a multiply-add counts 2, and attention counts in full
though half of it may be masked:

    encoder, each source token and layer   2 (4 D H K + 3 D F) + 4 S H K
    decoder, each target token and layer   2 (6 D H K + 3 D F) + 4 (T + S) H K
             each source token and layer   4 D H K
    logits, each target token              2 D V
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import _rounds
import numpy as np
from _reference import shape, size_option, t5, workdir_experiment, workdir_option, workdir_pairs

from t2c_jax import console
from t2c_jax.config import DataConfig, Experiment, ModelConfig, OptimizerConfig, TrainConfig
from t2c_jax.data import pipeline
from t2c_jax.data.tokens import Tokens

LEARNING_RATE = 1e-4
Batches = Iterator[dict[str, np.ndarray]]


def rows(options: argparse.Namespace) -> DataConfig:
    """The shape of our batches."""
    if options.padded:
        return workdir_experiment(options).data
    length = 16 if options.tiny else 128 if options.size == "reference" else 512
    return DataConfig(encoder_length=length, decoder_length=length, batch_size=options.batch, pack=False)


def full_batch(data: DataConfig, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Source and target ids without padding, the same on both sides."""
    draw = np.random.default_rng(0)
    source, target = (
        draw.integers(3, vocab_size, (data.batch_size, length)).astype(np.int32)
        for length in (data.encoder_length, data.decoder_length)
    )
    return source, target


def step_task(experiment: Experiment, vocab_size: int, batches: Batches) -> _rounds.Task:
    """Our train step on one device, as the training loop runs it; its work is real tokens."""
    import jax

    from t2c_jax import mesh as meshes
    from t2c_jax.train.setup import compiled_for

    compiled = compiled_for(experiment, vocab_size, devices=jax.devices()[:1])
    state = compiled.init()

    def step() -> float:
        nonlocal state
        state, metrics = compiled.train_step(state, meshes.global_batch(next(batches), compiled.mesh))
        return float(metrics["weight"] + metrics["source_tokens"])

    return step


def ours(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """Our step, and a large matrix product."""
    import jax
    import jax.numpy as jnp

    model, vocab_size = shape(tiny=options.tiny, dropout=options.dropout, size=options.size)
    data = rows(options)
    experiment = Experiment(
        data=data,
        model=model,
        optimizer=OptimizerConfig(schedule="constant", learning_rate=LEARNING_RATE, clip_norm=1.0),
        train=TrainConfig(steps=1_000_000),
    )
    batches: Batches
    if options.padded:
        packed = pipeline.Batches.of(workdir_pairs(options), data, seed=0)
        batches = (packed.batch(step) for step in itertools.count())
    else:
        batches = itertools.repeat(unpacked(*full_batch(data, vocab_size)))

    device = jax.devices()[0]
    size = 256 if options.tiny else 2048 if device.platform == "cpu" else 8192
    square = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(model.dtype))
    product = jax.jit(jnp.matmul)

    def peak() -> float:
        for _ in range(4):
            product(square, square).block_until_ready()
        return 4 * 2.0 * size**3

    facts: dict[str, Any] = {"flops": flops(model, vocab_size, data)}
    train_step = step_task(experiment, vocab_size, batches)

    def step() -> float:
        work = train_step()
        facts["peak_bytes"] = (device.memory_stats() or {}).get("peak_bytes_in_use")
        return work

    return {"step": step, "peak": peak}, facts


def unpacked(source: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """A full batch under the batch contract."""
    parts = {"encoder_input_tokens": source, "decoder_target_tokens": target}
    parts["decoder_input_tokens"] = np.pad(target, ((0, 0), (1, 0)))[:, :-1]
    parts["decoder_loss_weights"] = np.ones(target.shape, np.float32)
    for side, tokens in (("encoder", source), ("decoder", target)):
        parts[f"{side}_segment_ids"] = np.ones_like(tokens)
        parts[f"{side}_positions"] = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)
    return parts


def peer(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """The same step by transformers and torch."""
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config, vocab_size = shape(tiny=options.tiny, dropout=options.dropout, size=options.size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = torch.autocast(device.type, torch.bfloat16, enabled=config.dtype == "bfloat16")
    model = t5(config, vocab_size).train().to(device)
    forward = torch.compile(model) if options.worker == "compiled" else model
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    data = rows(options)
    facts: dict[str, Any] = {}
    batches: Iterator[tuple[np.ndarray, ...]]
    if options.padded:
        batches = padded_batches(workdir_pairs(options), data, facts)
    else:
        source, target = full_batch(data, vocab_size)
        batches = itertools.repeat((source, np.ones_like(source), target))

    def step() -> float:
        parts = next(batches)
        inputs, mask, labels = (torch.from_numpy(part).long().to(device, non_blocking=True) for part in parts)
        with half:
            loss = forward(input_ids=inputs, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        facts["peak_bytes"] = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
        return float(mask.sum() + (labels >= 0).sum())  # waits for the device, as ours does

    return {"step": step}, facts


def padded_batches(tokens: Tokens, data: DataConfig, facts: dict[str, Any]) -> Iterator[tuple[np.ndarray, ...]]:
    """Random batches of the pairs that our rows hold, padded to the longest; as many real tokens a step as ours."""
    plan = pipeline.Batches.of(tokens, data, seed=0).plan
    pairs, eos = plan.rows.pairs, np.ones(1, np.int32)
    size = round(len(pairs) / len(plan.rows) * data.batch_size)
    facts |= {"pairs": len(pairs), "dropped": plan.dropped, "pairs_per_batch": size}
    draw = np.random.default_rng(0)

    def padded(sequences: list[np.ndarray], fill: int) -> np.ndarray:
        length = max(map(len, sequences))
        return np.stack([np.pad(item, (0, length - len(item)), constant_values=fill) for item in sequences])

    def endless() -> Iterator[tuple[np.ndarray, ...]]:
        while True:
            order = draw.permutation(pairs).tolist()
            for batch in (order[first : first + size] for first in range(0, len(order) - size + 1, size)):
                sources = [np.concatenate([tokens.text(i), eos]) for i in batch]
                source = padded(sources, 0)
                mask = padded([np.ones_like(item) for item in sources], 0)
                yield source, mask, padded([np.concatenate([tokens.code(i), eos]) for i in batch], -100)

    return endless()


def flops(model: ModelConfig, vocab_size: int, data: DataConfig) -> float:
    """Model FLOPs of a train step; the formula is at the top."""
    side: Any = model.encoder  # the decoder has the same shape
    width, heads, hidden = model.width, side.num_heads * side.head_width, side.feed_forward
    source, target = data.encoder_length, data.decoder_length
    encoder = source * (2 * (4 * width * heads + 3 * width * hidden) + 4 * source * heads)
    decoder = target * (2 * (6 * width * heads + 3 * width * hidden) + 4 * (target + source) * heads)
    decoder += source * 4 * width * heads
    logits = target * 2 * width * vocab_size
    return 3.0 * data.batch_size * (side.layers * (encoder + decoder) + logits)


def share_of_peak(
    step: Sequence[_rounds.Turn], peak: Sequence[_rounds.Turn], steps: int, flops_of_step: float
) -> dict[str, float]:
    """Our step against the machine's own products."""
    machine = max(turn.rate for turn in peak)
    reached = median(flops_of_step * steps / turn.seconds for turn in step)
    share = reached / machine
    console.say(
        f"{flops_of_step / 1e9:.1f} GFLOP a step: {reached / 1e9:.0f} GFLOP/s, {share:.0%} of the"
        f" {machine / 1e9:.0f} GFLOP/s that large products reach here"
    )
    return {"flops_per_step": flops_of_step, "flops_per_second": reached, "peak": machine, "share_of_peak": share}


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.add_argument("--dropout", type=float, default=0.0, help="on both sides (default: %(default)s)")
    parser.add_argument("--padded", action="store_true", help="real pairs: ours packed, the peer's padded")
    parser.add_argument("--batch", type=int, help="rows (default: 32, or 4 of the toy)")
    workdir_option(parser)
    size_option(parser)
    _rounds.other_option(parser)
    options = parser.parse_args()
    options.batch = options.batch or (4 if options.tiny else 32)
    if options.worker:
        _rounds.serve({"ours": ours, "peer": peer, "compiled": peer}[options.worker], options)
        return
    about = _rounds.machine()
    own, others = _rounds.ours("t2c_jax"), _rounds.peers("transformers + torch", "peer")
    if about["gpu"]:  # where a host's allocator matters little, and compiling much
        others = [others[0], _rounds.Side("transformers + torch.compile", "compiled", "step")]
    if options.other:
        others.append(_rounds.other_commit(options.other))
    peak = _rounds.ours("products", task="peak")
    turns, facts = _rounds.measure([own, *others] + ([] if options.padded else [peak]), options.rounds)
    unit = "real tokens" if options.padded else "tokens"
    results: dict[str, Any] = {"sides": _rounds.compare("train step", unit, turns, options.steps, others, own)}
    peaks = {worker: told["peak_bytes"] for worker, told in facts.items() if told.get("peak_bytes")}
    if peaks:
        console.say("peak memory: " + ", ".join(f"{worker} {peak / 2**30:.2f} GiB" for worker, peak in peaks.items()))
    if options.padded:
        results["pairs"] = facts["peer"]
    else:
        results |= share_of_peak(turns[own.name], turns[peak.name], options.steps, facts["ours"]["flops"])
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
