"""Pre-training on code, documented or not: CodeT5's objectives (Wang et al. 2021, section 3.2) and CodeT5+'s (2023).

t2c run --config configs/pretrain.py:cpu --workdir runs/pretrained
t2c run --config configs/pretrain.py:base --workdir runs/base --config.corpus.sources=/data/repositories

``cpu`` has 12 million parameters, for an evening on two cores and the code that lies on any machine: the standard
library's and the installed packages'. ``small`` (61M), ``base`` (223M) and ``large`` (750M) are about CodeT5's sizes,
for accelerators and for sources of your own. Name the sets that you are going to score under config.corpus.held_out:
what shares a line with them is left out, and counted in the corpus's card.

The mixture: spans of code to restore, identifiers to name, and pairs in both directions. An argument such as
``cpu-spans+tags`` chooses others of the tasks below, to see what each is worth; one more is a line, for instance
--config.data.tasks.middle.objective=fill_in_the_middle.
"""

import sysconfig

from ml_collections import ConfigDict

from t2c_jax import config as schema

# Width, layers on each side, heads, their width, feed-forward, rows of a batch. A gated feed-forward has three kernels
# where CodeT5's has two, so it is narrower here for as many parameters (as in T5 v1.1).
SHAPES = {
    "cpu": (256, 4, 8, 32, 1024, 16),
    "small": (512, 6, 8, 64, 1408, 512),
    "base": (768, 12, 12, 64, 2048, 512),
    "large": (1024, 24, 16, 64, 2816, 512),
}
TASKS = {
    "spans": {"objective": "span_corruption", "weight": 1.0, "prefix": "Restore: "},
    "identifiers": {"objective": "masked_identifiers", "weight": 1.0, "prefix": "Name: "},
    "generate": {"objective": "text_to_code", "weight": 2.0, "prefix": "Generate: "},
    "describe": {"objective": "code_to_text", "weight": 1.0, "prefix": "Describe: "},
    "tags": {"objective": "identifier_tagging", "weight": 1.0, "prefix": "Tag: "},
    "match": {"objective": "contrastive", "weight": 1.0, "prefix": "Match: "},
}
MIXTURE = ("spans", "identifiers", "generate", "describe")
HEADS = {"tags": "tagging", "match": "embedding"}


def get_config(argument: str = "cpu") -> ConfigDict:
    """``cpu``, ``small``, ``base`` or ``large``; after a hyphen the tasks, joined by plus signs."""
    size, _, chosen = argument.partition("-")
    tasks = chosen.split("+") if chosen else MIXTURE
    if size not in SHAPES or not set(tasks) <= TASKS.keys():
        raise ValueError(f"{argument}: write one of {', '.join(SHAPES)}, or SIZE-TASK+TASK of {', '.join(TASKS)}")
    width, layers, heads, head_width, feed_forward, batch_size = SHAPES[size]
    on_cpu = size == "cpu"
    config = schema.default()
    config.corpus.sources = ("python:stdlib", sysconfig.get_paths()["purelib"])
    config.corpus.code_only = ("function", "method")
    config.corpus.dev_share = config.corpus.test_share = 0.02
    config.tokenizer.vocab_size = 8192 if on_cpu else 32_000
    config.tokenizer.split_spaces = True  # an identifier is the same pieces wherever it stands, so that it can be named

    config.data.tasks = ConfigDict({name: {**schema.to_dict(schema.TaskConfig()), **TASKS[name]} for name in tasks})
    config.model.encoder_heads = tuple(HEADS[name] for name in tasks if name in HEADS)
    config.data.prefix = TASKS["generate"]["prefix"]
    config.data.encoder_length = 256 if on_cpu else 512
    config.data.decoder_length = 256 if on_cpu else 512
    config.data.batch_size = batch_size

    config.model.width = width
    config.model.encoder_layers = layers
    config.model.decoder_layers = layers
    config.model.heads = heads
    config.model.head_width = head_width
    config.model.feed_forward = feed_forward
    config.model.scan = not on_cpu
    config.model.dropout = 0.0  # no example is seen often enough to be learnt by heart
    config.model.copy = on_cpu  # so small a model has not seen a name of many pieces often enough to spell it
    if not on_cpu:
        config.model.dtype = "bfloat16"
        config.model.remat = "dots" if size == "large" else "none"

    config.optimizer.schedule = "cosine"
    config.optimizer.learning_rate = 1e-3 if on_cpu else 3e-4
    config.optimizer.warmup_steps = 200 if on_cpu else 2000
    config.train.steps = 5000 if on_cpu else 200_000
    config.train.eval_every = 500 if on_cpu else 5000
    config.train.save_every = 500 if on_cpu else 5000
    config.train.eval_batches = 64
    config.train.samples = 0
    config.decode.beam_size = 1
    config.decode.max_tokens = 256
    config.evaluate.max_examples = 128
    return config
