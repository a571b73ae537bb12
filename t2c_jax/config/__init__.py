"""The experiment: its schema, and the way into it.

``schema`` holds the dataclasses, every knob once. ``configs/*.py`` derive an ``ml_collections.ConfigDict`` from them
(``default()``) and change a few values; ``load`` reads such a file, applies the ``--config.x.y=value`` overrides of
the command line and checks the result. Whatever is wrong is a ``UserError`` before any device is touched.
"""

from t2c_jax.config.check import check as check
from t2c_jax.config.load import default as default
from t2c_jax.config.load import from_dict as from_dict
from t2c_jax.config.load import load as load
from t2c_jax.config.load import to_config_dict as to_config_dict
from t2c_jax.config.load import to_dict as to_dict
from t2c_jax.config.rates import parse_rates as parse_rates
from t2c_jax.config.schema import DECODERS as DECODERS
from t2c_jax.config.schema import ENCODERS as ENCODERS
from t2c_jax.config.schema import METRICS as METRICS
from t2c_jax.config.schema import OBJECTIVES as OBJECTIVES
from t2c_jax.config.schema import PRETRAINED as PRETRAINED
from t2c_jax.config.schema import RECURRENT as RECURRENT
from t2c_jax.config.schema import CorpusConfig as CorpusConfig
from t2c_jax.config.schema import DataConfig as DataConfig
from t2c_jax.config.schema import DecodeConfig as DecodeConfig
from t2c_jax.config.schema import EvaluateConfig as EvaluateConfig
from t2c_jax.config.schema import Experiment as Experiment
from t2c_jax.config.schema import LoraConfig as LoraConfig
from t2c_jax.config.schema import MeshConfig as MeshConfig
from t2c_jax.config.schema import ModelConfig as ModelConfig
from t2c_jax.config.schema import OptimizerConfig as OptimizerConfig
from t2c_jax.config.schema import PathsConfig as PathsConfig
from t2c_jax.config.schema import PretrainedConfig as PretrainedConfig
from t2c_jax.config.schema import RecurrentConfig as RecurrentConfig
from t2c_jax.config.schema import ReplayConfig as ReplayConfig
from t2c_jax.config.schema import TaskConfig as TaskConfig
from t2c_jax.config.schema import TokenizerConfig as TokenizerConfig
from t2c_jax.config.schema import TrainConfig as TrainConfig
