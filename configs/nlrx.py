"""NL-RX: descriptions of lines to regular expressions, with an LSTM and attention.

Locascio et al. 2016, "Neural Generation of Regular Expressions from Natural Language with Minimal Domain Knowledge":
6,500 pairs to train on, 1,000 dev, 2,500 test. Published on the descriptions by people (turk): 58.2 % of the
expressions match the same strings as the reference (DFA-Equal); about 62 to 63 in later work.

t2c run --config configs/nlrx.py --workdir runs/nlrx

The sources are data/nlrx_turk/train.jsonl and data/nlrx_turk/dev.jsonl, with one JSON object {"text", "code"} per line.
For the published files set --config.corpus.sources=tfds:nlrx/turk, or tfds:nlrx/synth for descriptions by a grammar. On
dev 63.7 % of the expressions match the same strings (docs/results/reproduced.md).
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config() -> ConfigDict:
    """One layer of 256 units each way, for two CPU cores; the paper has two layers of 512."""
    config = schema.default()
    config.corpus.sources = ("data/nlrx_turk/train.jsonl", "data/nlrx_turk/dev.jsonl")
    config.corpus.deduplicate = False  # the published splits, including repeats across them
    config.corpus.dev_share = config.corpus.test_share = 0.0
    config.corpus.min_text_chars = 1
    config.corpus.min_code_chars = 1
    config.corpus.min_alphanumeric_share = 0.0
    config.tokenizer.vocab_size = 1024
    config.tokenizer.sentinels = 0

    config.model.encoder = schema.architecture("encoder", "lstm", layers=1, width=256)
    config.model.decoder = schema.architecture("decoder", "lstm", layers=1, width=256)
    config.model.width = 256
    config.model.dropout = 0.25

    config.data.encoder_length = 96
    config.data.decoder_length = 128
    config.data.batch_size = 16

    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config.train.steps = 2000
    config.train.label_smoothing = 0.1
    config.train.z_loss = 0.0
    config.train.ema_decay = 0.998
    config.train.eval_every = 250
    config.train.save_every = 250
    config.train.samples = 0
    config.decode.beam_size = 5
    config.decode.max_tokens = 96
    config.decode.batch_size = 32
    config.evaluate.split = "dev"
    config.evaluate.max_examples = 0
    config.evaluate.metrics = ("regex_match", "exact_match", "bleu")
    return config
