"""A run as a CTranslate2 model directory: fast beam search on CPUs and GPUs, in float32 or with int8 weights.

The model is laid out from plain arrays; neither ``torch`` nor ``transformers`` takes part. Both kinds of position are
CTranslate2's too, so this holds what T5's own format cannot.

Letters: D model, H heads, K head width, F feed-forward, V vocabulary, L layers, R relative buckets.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t2c_jax.config import ModelConfig
from t2c_jax.errors import UserError
from t2c_jax.interop import bart_ctranslate2
from t2c_jax.interop.parity import STEPS, Reference, compare, demand, upto
from t2c_jax.interop.tokenizer_json import pad_of, piece_names, write_tokenizer
from t2c_jax.interop.trained import Trained
from t2c_jax.models.definition import Params
from t2c_jax.models.pretrained.config import BartConfig
from t2c_jax.models.transformer.config import T5Config, TransformerConfig

QUANTIZATIONS = ("float32", "int8")
LIBRARY = "ctranslate2"


def why_not(model: ModelConfig) -> str | None:
    """One line on what the format cannot hold of this run, or on the missing library; None where nothing is amiss."""
    try:
        importlib.import_module("ctranslate2.specs")
    except ImportError:
        return "--to ctranslate2 needs ctranslate2: pip install 't2c-jax[export]', or pip install 'ctranslate2>=4.5'"
    return _not_there(model)


_NOT_THERE = {
    "attention_softcap": "it has no bound of attention scores, and without one the answers are others",
    "window_after": "it has no window to both sides",
    "window_before": "its window only shortens the cache of a decoder",
    "merged_attention": "its merged attention is not written here",
    "sandwich_norms": "its norms behind a block's parts are not written here",
    "query_key_norm": "its norms of queries and keys are not written here",
    "kv_heads": "its shared heads are not written here",
    "rope_scaling": "its scaled positions are not written here",
    "width": "it has one width for both sides",
}


def _not_there(model: ModelConfig) -> str | None:
    """What a model has that CTranslate2 has not, or that is not written for it."""
    for side, section in (("encoder", model.encoder), ("decoder", model.decoder)):
        plain = type(section)()
        for key, reason in _NOT_THERE.items():
            value = getattr(section, key, None)
            if isinstance(section, TransformerConfig) and value != getattr(plain, key, None):
                return f"config.model.{side}.{key}={value} is not exported to CTranslate2: {reason}"
    if model.logit_softcap:
        return (
            f"config.model.logit_softcap={model.logit_softcap} is not exported to CTranslate2: it is not written here"
        )
    return None


def write(model: Trained, directory: Path, texts: Sequence[str], quantization: str) -> dict[str, Any]:
    """Writes ``model.bin``, its vocabulary and config, and the tokenizer; returns what there is to say of them.

    Args:
      model: what to write.
      directory: an empty one.
      texts: to compare the tokenizers on.
      quantization: float32, or int8 for the matrices.
    """
    tokenizer = model.tokenizer
    compared, names = write_tokenizer(model, directory, texts)
    spec = specification(model.config, model.params)
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.unk_token = names[tokenizer.unk] if tokenizer.unk >= 0 else names[pad_of(tokenizer)]
    spec.config.bos_token = spec.config.decoder_start_token = names[tokenizer.start]
    spec.config.eos_token = names[tokenizer.eos]
    spec.config.add_source_bos = spec.config.add_source_eos = False  # tokenizer.json puts around what belongs there
    encoder: Any = model.config.encoder
    spec.config.layer_norm_epsilon = encoder.norm_epsilon
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(directory))
    return {"tokenizer": compared}


def specification(config: ModelConfig, params: Params) -> Any:
    """A ``TransformerSpec`` with copies of the parameters, its vocabulary and config yet to be set.

    Copies, since ``optimize("int8")`` scales the arrays that it is given in place.
    """
    common: Any = importlib.import_module("ctranslate2.specs.common_spec")
    transformer: Any = importlib.import_module("ctranslate2.specs.transformer_spec")
    activations = {
        "relu": common.Activation.RELU,
        "gelu": common.Activation.GELU,
        "gelu_tanh": common.Activation.GELUTanh,
        "silu": common.Activation.SWISH,
    }

    if isinstance(config.encoder, BartConfig):
        return bart_ctranslate2.specification(config, params, activations)

    def shape(sizes: Any) -> dict[str, Any]:
        found = {
            "pre_norm": True,
            "activation": activations[sizes.activation.removeprefix("gated_")],
            "ffn_glu": sizes.activation.startswith("gated_"),
            "rms_norm": True,
            "relative_attention_bias": isinstance(sizes, T5Config),
        }
        if isinstance(sizes, T5Config):
            return found
        # Halves of a head turn, not neighbours.
        return found | {
            "rotary_dim": sizes.head_width,
            "rotary_interleave": False,
            "rotary_base": sizes.rope_theta,
        }

    ours: Any = config.encoder
    theirs: Any = config.decoder
    try:
        encoder = transformer.TransformerEncoderSpec(ours.layers, ours.num_heads, **shape(ours))
    except TypeError:
        raise UserError(
            "this ctranslate2 has no encoders with rotary embedding; pip install -U 'ctranslate2>=4.7'"
        ) from None
    spec = transformer.TransformerSpec(
        encoder, transformer.TransformerDecoderSpec(theirs.layers, theirs.num_heads, **shape(theirs))
    )
    _fill_stack(spec.encoder, params["encoder"], ours)
    _fill_stack(spec.decoder, params["decoder"], theirs)
    table_VD = params["embedding"]["embedding"]
    spec.encoder.embeddings[0].weight = _copied(table_VD)
    spec.decoder.embeddings.weight = _copied(table_VD)
    spec.encoder.scale_embeddings = spec.decoder.scale_embeddings = config.scale_embeddings
    spec.decoder.projection.weight = _copied(table_VD if config.tied_embeddings else params["output"])
    if config.tied_embeddings and config.scale_tied_output:
        spec.decoder.scale_outputs = config.width**-0.5
    return spec


def _fill_stack(spec: Any, params: Params, sizes: Any) -> None:
    spec.layer_norm.gamma = _copied(params["norm"]["scale"])
    blocks: Mapping[str, Any] = params["blocks"]
    bias_RH = _copied(params["bias"]["table"]) if isinstance(sizes, T5Config) else None
    for i, layer in enumerate(spec.layer):
        _fill_attention(layer.self_attention, blocks["attention"], blocks["attention_norm"], i, sizes)
        if bias_RH is not None:  # the first layer's is all layers'
            layer.self_attention.relative_attention_bias = bias_RH
            layer.self_attention.relative_attention_max_distance = np.int32(sizes.relative_max_distance)
        if "cross_attention" in blocks:
            _fill_attention(layer.attention, blocks["cross_attention"], blocks["cross_norm"], i, sizes)
        feed_forward = blocks["feed_forward"]
        layer.ffn.layer_norm.gamma = _copied(blocks["feed_forward_norm"]["scale"][i])
        layer.ffn.linear_0.weight = _copied(feed_forward["gate"][i].T)
        if "up" in feed_forward:
            layer.ffn.linear_0_noact.weight = _copied(feed_forward["up"][i].T)
        layer.ffn.linear_1.weight = _copied(feed_forward["down"][i])


def _fill_attention(spec: Any, kernels: Mapping[str, Any], norm: Mapping[str, Any], i: int, sizes: Any) -> None:
    """Rows of a matrix are its outputs: queries, keys and values one below the other where one product makes them."""
    spec.layer_norm.gamma = _copied(norm["scale"][i])
    spec.queries_scale = sizes.head_width**-0.5 if sizes.scale_attention else 1.0
    flat = {name: kernel[i].reshape(len(kernel[i]), -1) for name, kernel in kernels.items()}
    query, key, value = (flat[name].T for name in ("query", "key", "value"))
    cross = len(spec.linear) == 3
    inputs = [[query], [key, value]] if cross else [[query, key, value]]
    for linear, parts in zip(spec.linear, [*inputs, [flat["output"]]], strict=True):
        linear.weight = _copied(np.concatenate(parts))


def _copied(array: Any) -> np.ndarray:
    return np.array(array, np.float32, order="C")


def check(model: Trained, directory: Path, expected: Reference, quantization: str) -> dict[str, Any]:
    """Loads the directory in ``Translator``; compares the log-probabilities of tokens, and greedy answers.

    Raises:
      UserError: it is float32, and not the same.
    """
    library: Any = importlib.import_module("ctranslate2")
    translator = library.Translator(str(directory), device="cpu", compute_type=quantization, inter_threads=1)
    tokenizer = model.tokenizer
    names = _vocabulary(directory)
    ids = {name: i for i, name in enumerate(names)}

    def spelt(row: np.ndarray) -> list[str]:
        return [names[i] for i in row.tolist()]

    sources = [spelt(source) for source in expected.sources]
    # It adds eos to a target by itself, and scores it too.
    targets = [spelt(target[target != tokenizer.eos]) for target in expected.targets]
    scored = translator.score_batch(sources * 2, targets, max_input_length=0)
    log_p = [np.array(one.log_probs[: len(target)]) for one, target in zip(scored, expected.targets, strict=True)]
    answers = translator.translate_batch(
        sources,
        beam_size=1,
        min_decoding_length=0,  # 1 by default, by which an empty answer is not possible
        max_decoding_length=STEPS,
        max_input_length=0,  # 1,024 by default, at which sources are cut in silence
        return_end_token=True,
    )
    greedy = [upto(np.array([ids[name] for name in one.hypotheses[0]], np.int32), tokenizer.eos) for one in answers]
    found = compare(expected, log_p, greedy)
    if quantization == "float32":
        demand(found, "ctranslate2")
    return {"by": "ctranslate2", **found, "version": library.__version__}


def _vocabulary(directory: Path) -> list[str]:
    """The pieces by id, as the library will read them."""
    names: list[str] = json.loads((directory / "shared_vocabulary.json").read_text("utf-8"))
    return names


def usage(model: Trained) -> str:
    """Python that loads the directory and answers ``TEXT``."""
    decode = model.decode
    settings = [
        f"beam_size={decode.beam_size},",
        # It stops at beams x patience finished hypotheses, by default at the first ones; our bound is exact.
        *([f"patience={decode.beam_size},"] if decode.beam_size > 1 else []),
        f"length_penalty={decode.length_penalty},",
        *([f"no_repeat_ngram_size={decode.no_repeat_ngram_size},"] if decode.no_repeat_ngram_size else []),
        "suppress_sequences=[[token] for token in never],",
        "min_decoding_length=0,  # an answer may be empty",
        f"max_decoding_length={decode.max_tokens},",
        "max_input_length=0,  # else sources are cut at 1,024 tokens",
    ]
    call = "\n".join(f"    {setting}" for setting in settings)
    kept = tuple(_special_names(model))
    return f"""
import ctranslate2
from tokenizers import Tokenizer

directory = "."  # the directory of this file
tokenizer = Tokenizer.from_file(f"{{directory}}/tokenizer.json")
tokenizer.encode_special_tokens = True  # "</s>" in a text is four characters
specials = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
never = [token for token in specials if token not in {kept!r}]
translator = ctranslate2.Translator(directory)
text = TEXT
found = translator.translate_batch(
    [tokenizer.encode(text).tokens],
{call}
)
print(tokenizer.decode([tokenizer.token_to_id(token) for token in found[0].hypotheses[0]]))
"""


def differences(model: Trained) -> list[str]:
    """Sentences on how the library's search differs from the run's own."""
    said = [
        "CTranslate2 makes the probabilities of the other tokens sum to 1 after it has forbidden some"
        " (`suppress_sequences`, `no_repeat_ngram_size`), as transformers does under `renormalize_logits`. The run's"
        " own search keeps the model's probabilities. So scores, and sometimes the order of beams, differ."
    ]
    if model.decode.idf_weight:
        said.append("The run's own search adds `config.decode.idf_weight` to scores; CTranslate2 has no such bonus.")
    return said


def _special_names(model: Trained) -> list[str]:
    """The special pieces that an answer may hold: those around every target, and the unknown piece."""
    tokenizer = model.tokenizer
    names = piece_names(model)
    kept = (tokenizer.eos, tokenizer.unk, *tokenizer.target_before, *tokenizer.target_after)
    return [names[i] for i in dict.fromkeys(kept) if i >= 0]
