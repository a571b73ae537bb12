"""Train step: ours against transformers' T5 with torch's AdamW, in turn, on this machine's CPU.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --padded --workdir runs/quickstart

Measured is one optimizer step (forward, backward, clipping at 1.0, AdamW) in float32 at the reference shape: 4 + 4
layers, width 256, gated GELU feed-forward of 1024, 8 heads of 32, vocabulary 8192.

Plain, the batch is 32 x (128 + 128) tokens without padding, the same for both. With ``--padded`` it is a workdir's own
training pairs, and the rate counts real source and target tokens alone: ours packed as the workdir's config says, the
peer's in random batches padded to their longest pair (DataCollatorForSeq2Seq's way, labels -100) in a plain torch loop
without Trainer's own overhead, with as many pairs in a batch as make the same number of real tokens a step. Pairs too
long for our rows are left out on both sides, and making the batches counts as a part of the step on both.

The share of the machine's matrix-product rate is (model FLOPs of a step / time) over the rate that a large square
float32 product reaches in the same rounds. Model FLOPs are 3 times those of the forward pass (the backward pass takes
two products for each), two for a multiply-add, attention counted in full though half of it is masked:

    encoder, each source token and layer:  2 (4 D H K + 3 D F) + 4 S H K
    decoder, each target token and layer:  2 (6 D H K + 3 D F) + 4 (T + S) H K
             each source token and layer:  4 D H K
    logits, each target token:             2 D V
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _rounds
import numpy as np

from t2c_jax.config import DataConfig, Experiment, ModelConfig, OptimizerConfig, TrainConfig
from t2c_jax.data.pipeline import Batches
from t2c_jax.data.prepare import Tokens
from t2c_jax.workdir import Workdir

BATCH, LENGTH, VOCABULARY = 32, 128, 8192
PEAK_SIZE = 2048  # of the square products that measure the machine


def reference(options: argparse.Namespace) -> tuple[Experiment, int]:
    """The experiment at the reference shape, and its vocabulary."""
    model = ModelConfig(scan=False, dropout=options.dropout)
    data = DataConfig(encoder_length=LENGTH, decoder_length=LENGTH, batch_size=BATCH, pack=False)
    vocabulary = VOCABULARY
    if options.tiny:
        model = ModelConfig(
            width=32, encoder_layers=1, decoder_layers=1, heads=2, head_width=16, feed_forward=64,
            scan=False, dropout=options.dropout,
        )
        data = DataConfig(encoder_length=16, decoder_length=16, batch_size=4, pack=False)
        vocabulary = 512
    if options.padded:
        values = Workdir(options.workdir).config
        from t2c_jax import config

        data = config.load(str(values)).data
        vocabulary = VOCABULARY
    optimizer = OptimizerConfig(schedule="constant", learning_rate=1e-4, clip_norm=1.0)
    return Experiment(model=model, data=data, optimizer=optimizer, train=TrainConfig(steps=1_000_000)), vocabulary
