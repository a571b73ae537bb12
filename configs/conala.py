"""CoNaLa: questions of Stack Overflow to Python snippets, with a small Transformer from scratch.

Yin et al. 2018, "Learning to Mine Aligned Code and Natural Language Pairs from Stack Overflow": 2,379 pairs to train on
and 500 to test. Published BLEU on test: attention 10.6, with mined pairs 14.3 (the challenge's baselines), TranX 24.5,
with the documentation of APIs and reranking 32.3 (Xu et al. 2020), MarianCG 34.4.

t2c run --config configs/conala.py --workdir runs/conala
t2c rerank --workdir runs/conala

The source is data/conala/train.jsonl, with one JSON object {"text", "code", "group"} per line. The group is the
question. A tenth of the questions is the dev split. For the published files set --config.corpus.sources=tfds:conala.
For mined pairs add tfds:conala/mined. The results on dev are in docs/results/conala.md.
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema


def get_config() -> ConfigDict:
    """With a copying head, for snippets repeat names of the question; in both directions, for reranking."""
    config = schema.default()
    config.corpus.sources = ("data/conala/train.jsonl",)
    config.corpus.deduplicate = False
    config.corpus.dev_share = 0.1
    config.corpus.test_share = 0.0
    config.corpus.min_text_chars = 1
    config.corpus.min_code_chars = 1
    config.corpus.min_alphanumeric_share = 0.0
    config.corpus.max_line_chars = 100_000
    config.tokenizer.vocab_size = 2048
    config.tokenizer.split_spaces = True  # a copied word has the same pieces on both sides
    config.tokenizer.sentinels = 0

    blocks = {"num_heads": 6, "head_width": 32, "feed_forward": 512}
    config.model.encoder = schema.architecture("encoder", "transformer", layers=2, **blocks)
    config.model.decoder = schema.architecture("decoder", "transformer", layers=3, **blocks)
    config.model.copy = True
    config.model.width = 192
    config.model.scan = False
    config.model.dropout = 0.3

    config.data.placeholders = True  # what a question quotes is read and written by name, as in TranX
    config.data.tasks = {
        "write": {"objective": "text_to_code"},
        "describe": {"objective": "code_to_text", "prefix": "Describe: ", "weight": 0.5},
    }
    config.data.encoder_length = 128
    config.data.decoder_length = 128
    config.data.batch_size = 8

    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config.train.steps = 2000
    config.train.label_smoothing = 0.1
    config.train.z_loss = 0.0
    config.train.ema_decay = 0.998
    config.train.eval_every = 250
    config.train.save_every = 250
    config.train.samples = 0
    config.decode.beam_size = 10
    config.decode.max_tokens = 100
    config.decode.no_repeat_ngram_size = 12
    config.decode.batch_size = 32
    config.rerank.grammar = "python"
    config.rerank.metric = "conala_bleu"
    config.evaluate.split = "dev"
    config.evaluate.max_examples = 0
    config.evaluate.metrics = ("conala_bleu", "exact_match", "chrf")
    return config
