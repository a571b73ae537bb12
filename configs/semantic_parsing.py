"""Questions to logical forms: as published, with and without attention, and as well as this project can.

After Dong & Lapata 2016, "Language to Logical Form with Neural Attention", sections 3.1 (sequence to sequence), 3.3
(attention) and 4.2 (settings).

t2c run --config configs/semantic_parsing.py:jobs --workdir runs/jobs
t2c run --config configs/semantic_parsing.py:jobs_plain --workdir runs/jobs_plain

t2c run --config configs/semantic_parsing.py:jobs_typed --workdir runs/jobs_typed

Likewise geo, geo_plain and geo_typed. The sources are data/jobs/train.jsonl or data/geo/train.jsonl, with one JSON
object {"text", "code"} per line and anonymised entities. For other files set --config.corpus.sources. A sixth of the
pairs is the dev split, which is scored. The paper's test accuracy with and without attention: JOBS 87.1 and 77.9, GEO
84.6 and 72.9.

The paper's settings: one LSTM layer of 200 over a reversed question, U(-0.08, 0.08), RMSProp at 0.01 with smoothing
0.95, decayed by 0.98 per epoch after the fifth, dropout 0.4, gradients clipped at 5, batches of 20, greedy search.

The typed ones read the question in both directions, copy its entities, and search with five beams in a grammar of the
logical forms (``configs/grammars``): a company is then no argument of ``loc``. After Krishnamurthy, Dasigi & Gardner
2017, "Neural Semantic Parsing with Type Constraints for Semi-Structured Tables".
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema

PAIRS = {"geo": 496, "jobs": 420}  # to train on


def get_config(argument: str = "jobs") -> ConfigDict:
    """``jobs`` or ``geo``; with ``_plain`` it has no attention, with ``_typed`` it is not the paper's."""
    name, _, variant = argument.partition("_")
    epoch = -(-PAIRS[name] // 20)
    config = schema.default()
    config.corpus.sources = (f"data/{name}/train.jsonl",)
    config.corpus.deduplicate = False
    config.corpus.min_text_chars = 1
    config.corpus.min_code_chars = 1
    config.corpus.min_alphanumeric_share = 0.0
    config.corpus.dev_share = 1 / 6
    config.corpus.test_share = 0.0
    config.tokenizer.vocab_size = 512
    config.tokenizer.sentinels = 0

    config.model.encoder = schema.architecture("encoder", "lstm", layers=1, width=200, bidirectional=False)
    config.model.decoder = schema.architecture(
        "decoder",
        "lstm",
        layers=1,
        width=200,
        bridge="copy",
        attention="none" if variant == "plain" else "multiplicative",
        input_feeding=False,
    )
    config.model.width = 200
    config.model.tied_embeddings = False
    config.model.uniform_init = 0.08
    config.model.dropout = 0.4

    config.data.reverse_source = True
    config.data.pack = False
    config.data.encoder_length = 64
    config.data.decoder_length = 128
    config.data.batch_size = 20

    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = 0.01
    config.optimizer.beta2 = 0.95
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 5.0
    config.optimizer.warmup_steps = 0
    config.optimizer.schedule = "step_decay"
    config.optimizer.decay_start = 5 * epoch
    config.optimizer.decay_every = epoch
    config.optimizer.decay_factor = 0.98
    config.train.steps = 100 * epoch
    config.train.z_loss = 0.0
    config.train.eval_every = 10 * epoch
    config.train.save_every = 50 * epoch
    config.train.samples = 0
    config.decode.beam_size = 1
    config.decode.max_tokens = 128
    config.decode.batch_size = 32
    config.evaluate.split = "dev"
    config.evaluate.metrics = ("logic_match", "exact_match", "bleu")
    if variant == "typed":
        _typed(config, name)
    return config


def _typed(config: ConfigDict, name: str) -> None:
    config.model.encoder.bidirectional = True
    config.model.decoder.bridge = "dense"
    config.model.decoder.input_feeding = True
    config.model.copy = True
    config.model.dropout = 0.25

    config.data.reverse_source = False
    config.data.pack = True
    config.data.encoder_length = 96
    config.data.decoder_length = 192
    config.data.batch_size = 6

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 50
    config.optimizer.schedule = "cosine"
    config.train.steps = {"geo": 1600, "jobs": 800}[name]
    config.train.label_smoothing = 0.1
    config.train.ema_decay = 0.99
    config.train.save_every = 200
    config.train.eval_every = config.train.steps  # so the last checkpoint answers: accuracy rises after the loss does

    config.decode.beam_size = 5
    config.decode.grammar = f"configs/grammars/{name}.lark"
    if name == "jobs":
        config.decode.no_repeat_ngram_size = 8  # about one goal: nothing is asked for twice
