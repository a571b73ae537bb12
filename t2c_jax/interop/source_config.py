"""A Hugging Face config.json's values: checked as they are read, and none left over that might change the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from t2c_jax.config import ModelConfig
from t2c_jax.config.fields import check_section
from t2c_jax.errors import UserError, nearest
from t2c_jax.interop.tensor_table import Layout

_LARGEST = 2**31 - 1
MOST_LAYERS = 1000
"""Of a config.json whose layers are listed by their kinds; more would be a list that takes memory."""

WITHOUT_EFFECT = frozenset(
    (
        # What made the file, and how its classes answer.
        *("_name_or_path", "architectures", "model_type", "transformers_version", "torch_dtype", "dtype"),
        *("tokenizer_class", "output_attentions", "output_hidden_states", "output_past", "return_dict", "torchscript"),
        *("use_cache", "use_bfloat16", "gradient_checkpointing", "chunk_size_feed_forward"),
        # Initial values of training.
        *("initializer_range", "initializer_factor", "init_std"),
        # Heads and settings for other tasks.
        *("classifier_dropout", "finetuning_task", "id2label", "label2id", "num_labels", "problem_type"),
        "task_specific_params",
        # Ids, which the tokenizer's importer reads.
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "cls_token_id", "sep_token_id"),
        # Search, which is config.decode's here.
        *("max_length", "min_length", "max_new_tokens", "do_sample", "early_stopping", "num_beams", "num_beam_groups"),
        *("diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
        *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences", "output_scores"),
        *("return_dict_in_generate", "remove_invalid_values"),
    )
)
"""Keys that change nothing in what any imported model computes."""


class Family(Protocol):
    """The module of one architecture's importer."""

    @property
    def WITHOUT_EFFECT(self) -> Collection[str]:
        """Keys of its config.json, beside those of ``source_config``, that change nothing in what the imported
        parameters compute. Every other key is read, or the import fails.
        """
        ...

    @property
    def IGNORED(self) -> str:
        """A regular expression for tensors that have no place here: heads of other tasks, buffers of constants."""
        ...

    def config_from_huggingface(self, fields: Fields, names: Collection[str]) -> ModelConfig:
        """The model section of a config.json; ``names`` are the checkpoint's tensors."""
        ...

    def layout(self, config: ModelConfig, names: Collection[str]) -> Layout:
        """Where the parameters are among the checkpoint's tensors, of which ``names`` are the names."""
        ...


def model_config(family: Family, values: Mapping[str, Any], names: Collection[str] = ()) -> ModelConfig:
    """A config.json as the model section of a config.

    Args:
      family: the importer of its architecture.
      values: the file's content; what it leaves out has the value that ``transformers`` gives it.
      names: the checkpoint's tensors.

    Raises:
      UserError: a value is wrong or asks for a variant that is not built here, or a key is neither read nor known to
        change nothing.
    """
    fields = Fields(values)
    if fields.value("quantization_config"):
        raise UserError("config.json: quantization_config is set; import the model in float32 or bfloat16")
    model = family.config_from_huggingface(fields, names)
    if unread := fields.unread({*WITHOUT_EFFECT, *family.WITHOUT_EFFECT}):
        shown = ", ".join(unread[:5]) + (f" and {len(unread) - 5} more" if len(unread) > 5 else "")
        raise UserError(
            f"config.json: not understood for model_type={values.get('model_type')!r}: {shown}; the import would give"
            " another model where they change the result. Delete a key that changes nothing"
        )
    if model.encoder.own_tokenizer:  # the rest of the model is a run's
        check_section(model.encoder, "config.model.encoder")
    else:
        check_section(model, "config.model")
    return model


class Fields:
    """Values by name, with the defaults that ``transformers`` gives those that a file leaves out or has as null."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        """``path`` is where the values lie in the file, with a dot at its end."""
        self._values, self._path = values, path
        self._read: set[str] = set()
        self._sections: list[Fields] = []

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def value(self, name: str, default: Any = None) -> Any:
        """A value as it is."""
        self._read.add(name)
        value = self._values.get(name)
        return default if value is None else value

    def section(self, name: str) -> Fields:
        """The values under a name; none where there is no such name.

        Raises:
          UserError: it is no section.
        """
        values = self.value(name, {})
        if not isinstance(values, Mapping):
            raise self._wrong(name, values, "must be an object")
        self._sections.append(Fields(values, f"{self._path}{name}."))
        return self._sections[-1]

    def unread(self, without_effect: Collection[str]) -> list[str]:
        """What no method has read, here and in sections, as ``name=value``; nulls and the names given left out."""
        found = []
        for name, value in self._values.items():
            if value is None or name in self._read or name in without_effect:
                continue
            text, hint = repr(value), nearest(name, self._read - self._values.keys()).removeprefix("; ")
            text = text if len(text) <= 60 else f"{text[:57]}..."
            found.append(f"{self._path}{name}={text}" + (f" ({hint})" if hint else ""))
        for section in self._sections:
            found += section.unread(without_effect)
        return found

    def integer(self, name: str, default: int | None = None, *, least: int = 1, most: int = _LARGEST) -> int:
        """A whole number from ``least`` to ``most``.

        Raises:
          UserError: it is another thing, or missing without a default.
        """
        value = self.value(name, default)
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(name, value, f"must be a whole number from {least} to {most}")
        return value

    def positive(self, name: str, default: float) -> float:
        """A number above 0.

        Raises:
          UserError: it is another thing.
        """
        value = self.value(name, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise self._wrong(name, value, "must be a number above 0")
        return float(value)

    def softcap(self, name: str, default: float) -> float:
        """A number above 0, or 0 where the file says null: here that is not the default.

        Raises:
          UserError: it is another thing.
        """
        self._read.add(name)
        if self._values.get(name, default) in (None, 0.0):
            return 0.0
        return self.positive(name, default)

    def share(self, name: str, default: float) -> float:
        """A number from 0 on and below 1, as a dropout rate.

        Raises:
          UserError: it is another thing.
        """
        value = self.value(name, default)
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise self._wrong(name, value, "must be a number from 0 on and below 1")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
          UserError: it is another thing.
        """
        value = self.value(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "must be true or false")
        return value

    def choice(self, name: str, default: str, known: Mapping[str, str]) -> str:
        """What ``known`` has for a name.

        Raises:
          UserError: it has nothing for it.
        """
        value = self.value(name, default)
        if not isinstance(value, str) or value not in known:
            raise self._wrong(name, value, f"is not supported; {', '.join(known)} are")
        return known[value]

    def must_be(self, name: str, wanted: Any) -> None:
        """Refuses a variant of the architecture that is not built here; a missing value is ``wanted``.

        Raises:
          UserError: the value is another one.
        """
        value = self.value(name, wanted)
        if value != wanted:
            raise self._wrong(name, value, f"is not supported; {wanted!r} is")

    def _wrong(self, name: str, value: Any, problem: str) -> UserError:
        return UserError(f"config.json: {self._path}{name}={value!r} {problem}")
