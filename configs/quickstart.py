"""The quickstart: a model that writes functions, trained on Python's standard library on two CPU cores.

t2c run --config configs/quickstart.py --workdir runs/quickstart

For a project of your own, change the sources: directories, git checkouts, .jsonl files of {"text", "code"}.
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config() -> ConfigDict:
    """A small Transformer, sized for about 15 minutes on two cores, from sources to scores."""
    config = schema.default()
    config.corpus.sources = ("python:stdlib",)
    config.tokenizer.vocab_size = 4096

    # Some 3 million parameters and a few epochs, for a few minutes on two cores.
    config.model.width = 192
    blocks = {"num_heads": 3, "head_width": 64, "feed_forward": 512}  # few wide heads: scores cost the same per head
    config.model.encoder = schema.architecture("encoder", "transformer", layers=2, **blocks)
    config.model.decoder = schema.architecture("decoder", "transformer", layers=3, **blocks)
    config.model.scan = False  # unrolled blocks run faster on a CPU

    # The cost of attention grows with the length of a row, packed or not: rows are short.
    config.data.encoder_length = 240
    config.data.decoder_length = 512
    config.data.batch_size = 8

    config.optimizer.learning_rate = 2e-3
    config.train.steps = 1200
    config.train.eval_every = 200
    config.train.save_every = 200
    config.decode.max_tokens = 192
    config.evaluate.max_examples = 256
    return config
