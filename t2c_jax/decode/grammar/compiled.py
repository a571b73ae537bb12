"""A grammar bound to a tokenizer."""

from __future__ import annotations

from t2c_jax.decode.grammar.engine import Engine
from t2c_jax.decode.grammar.grammar_sources import source_of
from t2c_jax.decode.grammar.shortest import check_finish
from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.tokenizers.base import Tokenizer


class Grammar(Engine):
    """A grammar that answers can follow: it compiles, the tokenizer can spell it, and an answer can end."""

    @classmethod
    def compile(
        cls, spec: str, tokenizer: Tokenizer, max_tokens: int | None = None, *, special_pieces: bool = False
    ) -> Grammar:
        """The grammar that config.decode.grammar names, bound to a tokenizer. Its common states are already visited.

        Args:
          spec: ``python``, ``regex:PATTERN``, ``schema:FILE.json``, ``FILE.lark`` ...
          tokenizer: decodes the answers.
          max_tokens: of an answer; None where any length will do.
          special_pieces: whether answers may hold the tokenizer's special pieces.

        Raises:
          UserError: no such grammar, it does not compile, the tokenizer cannot spell it, or no answer within
            ``max_tokens`` can end.
        """
        grammar = cls(source_of(spec), Spelling.of(tokenizer, special_pieces=special_pieces))
        check_finish(grammar, max_tokens)
        return grammar
