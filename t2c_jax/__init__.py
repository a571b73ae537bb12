"""Train sequence-to-sequence models that write code from text, in JAX.

The library, for notebooks and services (the command line is ``t2c``):

    config = t2c_jax.load_config("configs/quickstart.py", ["train.steps=200"])
    t2c_jax.train_run(config, "runs/mine")

    run = t2c_jax.open_run("runs/mine")
    run.generate(["Return the largest number."], beam_size=4)
    run.score([("Return the largest number.", "def largest(numbers):\\n    return max(numbers)\\n")])

Importing it loads no jax: a function imports what it needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

# Parts register themselves where these are imported; none of them loads jax or another large library.
import t2c_jax.data.tasks
import t2c_jax.decode.grammar.grammar_sources
import t2c_jax.evaluate
import t2c_jax.models
import t2c_jax.papers  # noqa: F401
from t2c_jax import plugins
from t2c_jax.errors import UserError as UserError
from t2c_jax.version import __version__ as __version__

if TYPE_CHECKING:
    from t2c_jax.checkpoints.inherit import load as load_config
    from t2c_jax.config import Experiment as Experiment
    from t2c_jax.config import default as default_config
    from t2c_jax.corpus.pairs import Pair as Pair
    from t2c_jax.library.run import Run as Run
    from t2c_jax.library.run import Scores as Scores
    from t2c_jax.library.run import open_run as open_run
    from t2c_jax.library.run import train_run as train_run
    from t2c_jax.train.hooks import Hook as Hook
    from t2c_jax.train.hooks import LoopState as LoopState
    from t2c_jax.train.hooks import hook as hook

_LAZY = {
    "Experiment": ("t2c_jax.config", "Experiment"),
    "Hook": ("t2c_jax.train.hooks", "Hook"),
    "LoopState": ("t2c_jax.train.hooks", "LoopState"),
    "Pair": ("t2c_jax.corpus.pairs", "Pair"),
    "Run": ("t2c_jax.library.run", "Run"),
    "Scores": ("t2c_jax.library.run", "Scores"),
    "default_config": ("t2c_jax.config", "default"),
    "hook": ("t2c_jax.train.hooks", "hook"),
    "load_config": ("t2c_jax.checkpoints.inherit", "load"),
    "open_run": ("t2c_jax.library.run", "open_run"),
    "train_run": ("t2c_jax.library.run", "train_run"),
}

__all__ = [
    "Experiment",
    "Hook",
    "LoopState",
    "Pair",
    "Run",
    "Scores",
    "UserError",
    "default_config",
    "hook",
    "load_config",
    "open_run",
    "train_run",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 't2c_jax' has no attribute '{name}'")
    plugins.check()
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


plugins.load()  # last, since their modules may use all of the above
