"""The quickstart: a model that writes checks, trained on two CPU cores with code that is installed anyway.

t2c run --config configs/quickstart.py --workdir runs/quickstart

A check is a statement that raises an error. The prompt is the signature of its function and the error that it raises.
The pairs are mined from Python's standard library and from packages that this one needs, without their tests.

For a project of your own, train on whole functions and change the sources: directories, git checkouts, .jsonl files of
{"text", "code"}. Functions need more code and more time than checks.

t2c run --config configs/quickstart.py:functions --workdir runs/functions --config.corpus.sources=python:stdlib
"""

from ml_collections import ConfigDict

from t2c_jax import config as schema

PACKAGES = ("flax", "jax", "keras", "numpy", "optax", "orbax-checkpoint", "scipy", "tensorflow", "tensorflow-datasets")
TESTS = ("**/test/**", "**/tests/**", "**/idle_test/**", "**/*_test.py")  # some Pythons come without them


def get_config(argument: str = "checks") -> ConfigDict:
    """A small Transformer, sized for about 15 minutes on two cores: it writes ``checks``, or whole ``functions``."""
    config = schema.default()
    tasks = {"checks": _checks, "functions": _functions}
    if argument not in tasks:
        raise ValueError(f"quickstart.py:{argument} is unknown; it is one of {', '.join(tasks)}")
    tasks[argument](config)
    config.tokenizer.vocab_size = 4096

    # Some 3 million parameters and a few epochs, for a few minutes on two cores.
    config.model.width = 192
    blocks = {"num_heads": 3, "head_width": 64, "feed_forward": 512}  # few wide heads: scores cost the same per head
    config.model.encoder = schema.architecture("encoder", "transformer", layers=2, **blocks)
    config.model.decoder = schema.architecture("decoder", "transformer", layers=3, **blocks)
    config.model.scan = False  # unrolled blocks run faster on a CPU

    config.optimizer.learning_rate = 2e-3
    config.train.eval_every = 200
    config.train.save_every = 200
    config.decode.grammar = "python"
    config.decode.max_tokens = 192
    return config


def _checks(config: ConfigDict) -> None:
    config.corpus.sources = ("python:stdlib", *(f"package:{name}" for name in PACKAGES))
    config.corpus.extractors = ("python",)
    config.corpus.kinds = ("check",)
    config.corpus.exclude = (*config.corpus.exclude, *TESTS)
    config.corpus.text = "signature+summary"
    config.corpus.near_duplicates = 0.0  # nearly the same check of another function is another example
    config.corpus.code = "unparsed"  # comments and layout are nothing that an error says
    config.corpus.test_share = 0.08  # some 600 pairs
    config.corpus.max_text_chars = 600
    config.corpus.max_code_chars = 600
    config.tokenizer.split_spaces = True  # a copied word has the same pieces in the error and in the code
    config.model.copy = True
    # Signatures with types are longer than checks. Rows are short, for the cost of attention grows with their length.
    config.data.encoder_length = 352
    config.data.decoder_length = 256
    config.data.batch_size = 12
    config.train.steps = 600
    config.decode.no_repeat_ngram_size = 8  # trained for minutes, a model repeats itself
    config.evaluate.max_examples = 0  # the whole test split


def _functions(config: ConfigDict) -> None:
    config.corpus.sources = ("python:stdlib",)
    config.data.encoder_length = 240
    config.data.decoder_length = 512
    config.data.batch_size = 8
    config.train.steps = 1200
    config.evaluate.max_examples = 256
