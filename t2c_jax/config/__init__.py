"""The experiment: its schema, and the ways into it.

``schema`` holds the sections, every field once; an architecture's own fields are in its config class, chosen by name
(``architectures``, ``registry``). ``configs/*.py`` derive an ``ml_collections.ConfigDict`` from them (``default()``)
and change a few values; ``load`` reads such a file, applies the ``--config.x.y=value`` overrides of the command line
and checks the result. Whatever is wrong is a ``UserError`` before any device is touched.
"""

from t2c_jax.config.architectures import DecoderConfig as DecoderConfig
from t2c_jax.config.architectures import EncoderConfig as EncoderConfig
from t2c_jax.config.architectures import ModelConfig as ModelConfig
from t2c_jax.config.architectures import decoders as decoders
from t2c_jax.config.architectures import encoders as encoders
from t2c_jax.config.check import check as check
from t2c_jax.config.check import output_head as output_head
from t2c_jax.config.fields import Section as Section
from t2c_jax.config.fields import field as field
from t2c_jax.config.fields import field_names as field_names
from t2c_jax.config.load import architecture as architecture
from t2c_jax.config.load import compared as compared
from t2c_jax.config.load import default as default
from t2c_jax.config.load import filled as filled
from t2c_jax.config.load import from_dict as from_dict
from t2c_jax.config.load import from_stored as from_stored
from t2c_jax.config.load import load as load
from t2c_jax.config.load import read_values as read_values
from t2c_jax.config.load import to_config_dict as to_config_dict
from t2c_jax.config.load import to_dict as to_dict
from t2c_jax.config.rates import parse_rates as parse_rates
from t2c_jax.config.registry import Registry as Registry
from t2c_jax.config.registry import metrics as metrics
from t2c_jax.config.registry import objectives as objectives
from t2c_jax.config.schema import CorpusConfig as CorpusConfig
from t2c_jax.config.schema import DataConfig as DataConfig
from t2c_jax.config.schema import DecodeConfig as DecodeConfig
from t2c_jax.config.schema import EvaluateConfig as EvaluateConfig
from t2c_jax.config.schema import ExecutionConfig as ExecutionConfig
from t2c_jax.config.schema import Experiment as Experiment
from t2c_jax.config.schema import LoraConfig as LoraConfig
from t2c_jax.config.schema import MeshConfig as MeshConfig
from t2c_jax.config.schema import OptimizerConfig as OptimizerConfig
from t2c_jax.config.schema import OriginConfig as OriginConfig
from t2c_jax.config.schema import RerankConfig as RerankConfig
from t2c_jax.config.schema import RetrieveConfig as RetrieveConfig
from t2c_jax.config.schema import TaskConfig as TaskConfig
from t2c_jax.config.schema import TokenizerConfig as TokenizerConfig
from t2c_jax.config.schema import TrainConfig as TrainConfig
from t2c_jax.config.schema import drawing as drawing
