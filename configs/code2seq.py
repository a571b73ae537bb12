"""code2seq: names or docstrings of Python functions, from the paths of their syntax trees.

t2c run --config configs/code2seq.py --workdir runs/code2seq
t2c run --config configs/code2seq.py:docstrings --workdir runs/code2seq-docstrings

After Alon, Brody, Levy and Yahav, "code2seq: Generating Sequences from Structured Representations of Code" (ICLR
2019). The paper predicts names of Java methods. Its F1 over sub-tokens on Java-small is 43.02 (table 1), with 200 paths
per method, embeddings of 128, path LSTMs of 128 units in each direction and a decoder LSTM of 320 units.

This config predicts names of the functions in the Python standard library. The model is smaller and sees fewer paths,
for about an hour on two CPU cores, so its score is not comparable with the paper's. For the size of the paper set
model.encoder.sampled=200, model.decoder.width=320 and model.width=128.
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config(argument: str = "names") -> ConfigDict:
    """``names`` writes a function's name in sub-tokens, ``docstrings`` the first paragraph of its docstring."""
    if argument not in ("names", "docstrings"):
        raise ValueError(f"configs/code2seq.py:{argument}: write names or docstrings")
    names = argument == "names"
    config = schema.default()
    config.corpus.sources = ("python:stdlib",)
    config.corpus.kinds = ("function", "method")
    config.corpus.text = "name" if names else "summary"
    config.corpus.min_text_chars = 1 if names else 10
    config.tokenizer.vocab_size = 4096

    config.data.direction = "code_to_text"
    config.data.pack = False
    config.data.decoder_length = 16 if names else 96
    config.data.batch_size = 32

    config.model.encoder = schema.architecture("encoder", "paths", width=128, sampled=100, stored=500)
    config.model.decoder = schema.architecture("decoder", "lstm", layers=1, width=128, attention="multiplicative")
    config.model.width = 128
    config.model.dropout = 0.25

    config.optimizer.learning_rate = 2e-3
    config.train.steps = 4000
    config.train.eval_every = 500
    config.train.save_every = 500
    config.decode.max_tokens = 16 if names else 64
    config.evaluate.metrics = ("subtoken_f1", "exact_match") if names else ("bleu", "chrf")
    config.evaluate.max_examples = 512
    return config
