"""Whether a whole text belongs to a grammar."""

from __future__ import annotations

from t2c_jax.decode.grammar.engine import Engine
from t2c_jax.decode.grammar.grammar_sources import source_of
from t2c_jax.decode.grammar.spelling import Spelling

_BYTES = tuple(bytes([byte]) for byte in range(256))


class Membership:
    """Answers for texts, byte by byte, so whatever the tokenizer."""

    def __init__(self, spec: str) -> None:
        """Compiles the grammar.

        Args:
          spec: a value of config.decode.grammar.

        Raises:
          UserError: no such grammar, or it does not compile.
        """
        texts = (*_BYTES, None)  # the last one is eos
        self._engine = Engine(source_of(spec), Spelling(len(texts), texts, texts, (), (len(_BYTES),)))

    def __call__(self, text: str) -> bool:
        """Whether the text, which is not blank, is one of the grammar."""
        try:
            written = list(text.encode("utf-8"))
        except UnicodeEncodeError:  # half a surrogate pair
            return False
        if not text.strip():
            return False
        matcher = self._engine.root.deep_copy()
        return bool(matcher.try_consume_tokens(written) == len(written) and matcher.is_accepting())
