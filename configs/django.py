"""Django's pseudo-code to Python, line by line: an LSTM pointer-generator, with or without copying.

Oda et al. 2015, "Learning to Generate Pseudo-Code from Source Code Using Statistical Machine Translation": 16,000 lines
to train on, 1,000 dev, 1,805 test. The model is that of See et al. 2017 on the encoder-decoder of Luong et al. 2015.
Published exact match on test: attention without copying 45.1 and LPN 62.3 (Ling et al. 2016), TranX 73.7 (Yin & Neubig
2018). The results on dev are in docs/results/django.md.

t2c run --config configs/django.py:copy --workdir runs/django
t2c run --config configs/django.py:plain --workdir runs/django_plain

The sources are data/django/train.jsonl and data/django/dev.jsonl, with one JSON object {"text", "code"} per line. For
other files set --config.corpus.sources=TRAIN,DEV.
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config(argument: str = "copy") -> ConfigDict:
    """With the copying head (``copy``) or without it (``plain``)."""
    config = schema.default()
    config.corpus.sources = ("data/django/train.jsonl", "data/django/dev.jsonl")
    config.corpus.deduplicate = False  # the published splits, including repeats across them
    config.corpus.dev_share = config.corpus.test_share = 0.0
    config.corpus.min_text_chars = 1
    config.corpus.min_code_chars = 1
    config.corpus.min_alphanumeric_share = 0.0
    config.corpus.max_text_chars = 100_000
    config.corpus.max_code_chars = 100_000
    config.corpus.max_line_chars = 100_000
    config.tokenizer.vocab_size = 2048
    config.tokenizer.split_spaces = True  # "self.name" in a text is "self . name" in the code
    config.tokenizer.sentinels = 0

    config.model.encoder = schema.architecture("encoder", "lstm", layers=1, width=256)
    config.model.decoder = schema.architecture("decoder", "lstm", layers=1, width=256)
    config.model.copy = {"copy": True, "plain": False}[argument]
    config.model.width = 256
    config.model.dropout = 0.25

    config.data.placeholders = True  # strings are read and written by name, as in TranX
    config.data.encoder_length = 144
    config.data.decoder_length = 128
    config.data.batch_size = 16

    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config.train.steps = 3000
    config.train.label_smoothing = 0.1
    config.train.z_loss = 0.0
    config.train.ema_decay = 0.998
    config.train.eval_every = 500
    config.train.save_every = 500
    config.train.eval_batches = 100
    config.train.samples = 0
    config.train.loss_chunk_tokens = 1024
    config.decode.beam_size = 5
    config.decode.max_tokens = 160
    config.decode.batch_size = 32
    config.evaluate.split = "dev"
    config.evaluate.metrics = ("python_match", "exact_match", "bleu")
    return config
