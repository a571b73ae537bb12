"""Deep API Learning (Gu et al. 2016) for Python: descriptions of functions to the API calls that they make.

t2c run --config configs/deep_api.py --workdir runs/deep_api

The paper trains on 7.5 million Java pairs, with 1000 hidden units, embeddings of 120, a vocabulary of 10,000 calls and
lambda = 0.035. It reports BLEU 54.42 (section 5; 52.49 without the IDF weight), FRank 1.6, and a relevancy of 80 % of
five answers as judged by people. Here relevance is overlap with the reference (``t2c_jax.papers.deep_api.ranking``), so
FRank and relevancy are comparable between runs of this project only.

The standard library has some thousands of pairs. That is enough to try the config, and far too little for the scores
of the paper: docs/results/deep_api.md. For more, name checkouts of projects that use the libraries of interest as
sources, and set the sizes of the paper.
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config() -> ConfigDict:
    """A bidirectional GRU encoder and a GRU decoder with additive attention, sized for minutes of two CPU cores."""
    config = schema.default()
    config.corpus.sources = ("python:stdlib",)
    config.corpus.code = "apis"
    config.corpus.text = "summary"
    config.corpus.kinds = ("function", "method")
    config.corpus.min_code_chars = 3  # a single call, such as len
    config.corpus.max_code_chars = 1_000
    config.corpus.max_line_chars = 1_000  # all calls are on one line
    config.tokenizer.vocab_size = 4096  # pieces of calls; the paper has one word per call, and none for rare calls

    config.model.encoder = schema.architecture("encoder", "gru", layers=1, width=256, bidirectional=True)
    config.model.decoder = schema.architecture(
        "decoder", "gru", layers=1, width=256, attention="additive", input_feeding=True
    )
    config.model.width = 120
    config.model.dropout = 0.2

    # The time of a recurrent step grows with the length of a row: rows are short, and there are many.
    config.data.encoder_length = 128
    config.data.decoder_length = 256
    config.data.batch_size = 16

    config.optimizer.learning_rate = 2e-3
    config.train.steps = 800
    config.train.eval_every = 100
    config.train.save_every = 100
    config.train.idf_weight = 0.035

    config.decode.idf_weight = 0.035
    config.decode.beam_size = 5  # as many answers as the metrics rank
    config.decode.max_tokens = 128
    config.evaluate.metrics = ("bleu", "api_precision", "relevancy", "frank")
    config.evaluate.max_examples = 256
    return config
