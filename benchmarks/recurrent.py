"""Train step of a recurrent model: ours against torch's nn.LSTM with torch's AdamW, in turn, on this machine's CPU.

    python benchmarks/recurrent.py

A step is one optimizer step (forward, backward, clipping at 1.0, AdamW) in float32, without dropout, on 32 x (64 + 64)
tokens without padding: an LSTM encoder and an LSTM decoder of 2 layers of 512, both reading one way, embeddings of 512
shared by both sides and the logits, vocabulary 8192, cross-entropy of every target token. The decoder starts from the
encoder's states, layer by layer, and reads the source with multiplicative attention (Luong et al. 2015, equations 5 and
8) on top of its last layer. There is no input feeding: so torch can run its nn.LSTM over all targets in one call, as it
is fastest, and both sides do the same products.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import _rounds
from train_step import LEARNING_RATE, full_batch, step_task, unpacked

from t2c_jax.config import DataConfig, Experiment, ModelConfig, OptimizerConfig, TrainConfig
from t2c_jax.models.recurrent.config import LSTMDecoderConfig, LSTMEncoderConfig

LAYERS = 2


def shape(options: argparse.Namespace) -> tuple[ModelConfig, int, DataConfig]:
    """The model, its vocabulary and the batch."""
    width, vocab_size, batch, length = (32, 256, 4, 16) if options.tiny else (512, 8192, 32, 64)
    model = ModelConfig(
        encoder=LSTMEncoderConfig(layers=LAYERS, width=width, bidirectional=False),
        decoder=LSTMDecoderConfig(
            layers=LAYERS, width=width, attention="multiplicative", input_feeding=False, bridge="copy"
        ),
        width=width,
        dropout=0.0,
    )
    data = DataConfig(encoder_length=length, decoder_length=length, batch_size=batch, pack=False)
    return model, vocab_size, data


def ours(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """Our step, as the training loop runs it."""
    model, vocab_size, data = shape(options)
    experiment = Experiment(
        data=data,
        model=model,
        optimizer=OptimizerConfig(schedule="constant", learning_rate=LEARNING_RATE, clip_norm=1.0),
        train=TrainConfig(steps=1_000_000, z_loss=0.0),
    )
    batches = itertools.repeat(unpacked(*full_batch(data, vocab_size)))
    return {"step": step_task(experiment, vocab_size, batches)}, {}


def peer(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """The same step by torch."""
    import torch
    from torch import nn

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model, vocab_size, data = shape(options)
    width = model.width

    class Seq2Seq(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab_size, width)
            self.encoder = nn.LSTM(width, width, LAYERS, batch_first=True)
            self.decoder = nn.LSTM(width, width, LAYERS, batch_first=True)
            self.query = nn.Linear(width, width, bias=False)
            self.combine = nn.Linear(2 * width, width, bias=False)

        def forward(self, source: Any, fed: Any) -> Any:
            memory, states = self.encoder(self.embedding(source))
            h, _ = self.decoder(self.embedding(fed), states)
            scores = self.query(h) @ memory.transpose(1, 2) * width**-0.5
            context = scores.softmax(-1) @ memory
            attended = torch.tanh(self.combine(torch.cat([context, h], -1))) * width**-0.5
            return nn.functional.linear(attended, self.embedding.weight)

    network = Seq2Seq().train()
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    batch = unpacked(*full_batch(data, vocab_size))
    names = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")

    def step() -> float:
        source, fed, targets = (torch.from_numpy(batch[name]).long() for name in names)
        logits = network(source, fed)
        nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(source.numel() + targets.numel())

    return {"step": step}, {"parameters": sum(p.numel() for p in network.parameters())}


def main() -> None:
    options = _rounds.parser(__doc__).parse_args()
    if options.worker:
        _rounds.serve({"ours": ours, "peer": peer}[options.worker], options)
        return
    about = _rounds.machine()
    own, others = _rounds.ours("t2c_jax"), _rounds.peers("torch nn.LSTM", "peer")
    turns, _ = _rounds.measure([own, *others], options.rounds)
    title = "train step of an LSTM encoder and decoder"
    results = {"sides": _rounds.compare(title, "tokens", turns, options.steps, others, own)}
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
