"""llguidance over the tokens of a tokenizer.

Letters: V vocabulary, U states of the UTF-8 automaton, N words of a mask.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.decode.grammar.grammar_sources import KEY, GrammarSource
from t2c_jax.decode.grammar.spelling import Spelling, packed
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer

# Special tokens, eos included, have no bytes. By llguidance's convention they have a name after the byte 0xff, which a
# negated terminal matches.
_NO_BYTES = b""

_NO_TOKEN = "NoExtensionBias"  # llguidance's error for a state in which no token of the vocabulary is allowed


class GrammarError(UserError):
    """The grammar engine stopped within an answer. Its masks would no longer be those of the grammar."""


class Engine:
    """Matchers of a grammar over the tokens of one tokenizer.

    Matchers are copies of its ``root``, which is never advanced. Copies share the lexer's automaton, which is built as
    states are visited, so a state that one answer has visited is fast for all.

    Attributes:
      spec: the value of config.decode.grammar.
      spelling: of the tokenizer.
      words: uint32 words of a mask.
    """

    def __init__(self, source: GrammarSource, spelling: Spelling) -> None:
        """Compiles the grammar.

        Raises:
          UserError: it does not compile.
        """
        from llguidance import LLExecutor

        self.spec, self.source, self.spelling = source.spec, source, spelling
        self.words = -(-spelling.size // 32)
        later = [_NO_BYTES if text is None else text for text in spelling.later]
        if not spelling.same_everywhere:  # first tokens are fed byte by byte
            later += [bytes([byte]) for byte in range(256)]
        self._tokenizer = _engine_tokenizer(later, spelling.after[-1])
        self.engine_words = -(-len(later) // 32)
        self.root = self._matcher(self._tokenizer)
        self.executor: LLExecutor = LLExecutor(1)  # copies of one matcher share a lock, so more threads only wait

    def _matcher(self, tokenizer: LLTokenizer) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(
            max_items_in_row=20_000,
            initial_lexer_fuel=10_000_000,
            step_lexer_fuel=10_000_000,
            step_max_items=1_000_000,
            verbose_errors=False,
        )
        matcher = LLMatcher(tokenizer, self.source.lark, log_level=0, limits=limits)
        if matcher.is_error():
            raise self.source.error(_plain(matcher.get_error()))
        return matcher

    def failed(self, matcher: LLMatcher) -> GrammarError:
        """The exception for a matcher in error state."""
        what = _plain(matcher.get_error()) or matcher.stop_reason()
        return GrammarError(f"{KEY}={self.spec!r} cannot be followed further: {what}; simplify the grammar")

    def bit_masks(self, matchers: list[LLMatcher]) -> np.ndarray:
        """The tokens that each matcher allows: uint32, a row for each matcher, which is 0 where no token is allowed.

        Raises:
          GrammarError: the engine failed.
        """
        masks = np.zeros((len(matchers), self.engine_words), np.uint32)
        if matchers:
            self.executor.unsafe_compute_mask_ptr(
                [(matcher, index) for index, matcher in enumerate(matchers)],
                masks.ctypes.data,
                self.engine_words * 4,
                len(matchers),
            )
        for index, matcher in enumerate(matchers):
            if matcher.is_error():  # its mask allows eos, as if the answer were complete
                if matcher.get_error().startswith(_NO_TOKEN):
                    masks[index] = 0
                else:
                    raise self.failed(matcher)
        return masks[:, : self.words]

    def allows(self, matcher: LLMatcher, utf8: int, token: int, *, is_end: bool) -> bool:
        """Whether a matcher allows a token that is not the first of an answer.

        Args:
          matcher: after the text so far.
          utf8: the UTF-8 state after it.
          token: the next one.
          is_end: whether the token stands for the end of the text.

        Raises:
          GrammarError: the engine failed.
        """
        if is_end:
            allowed = utf8 == 0 and matcher.is_accepting()
        else:
            allowed = self._states[utf8][token] >= 0 and matcher.validate_tokens([token]) == 1
        if not allowed and matcher.is_error():
            raise self.failed(matcher)
        return allowed

    def feed(self, pairs: list[tuple[LLMatcher, int]], *, first: bool) -> None:
        """Advances each matcher by a token, which its mask allows.

        Args:
          pairs: matcher and token.
          first: whether these are the first tokens of their answers.

        Raises:
          GrammarError: the engine failed.
        """
        if first and not self.spelling.same_everywhere:
            bytes_from = self.spelling.size
            for matcher, token in pairs:
                text = self.spelling.first[token] or b""
                if text and not matcher.consume_tokens([bytes_from + byte for byte in text]):
                    raise self.failed(matcher)
        else:  # one by one: the executor would hand them to a thread of its own, which takes longer
            for matcher, token in pairs:
                if not matcher.consume_token(token):
                    raise self.failed(matcher)

    def utf8_after(self, utf8: int, token: int, *, first: bool) -> int:
        """The UTF-8 state after a token, -1 where it must not come.

        Args:
          utf8: the state before it.
          token: its id.
          first: whether it is the first of an answer.
        """
        return self._first_states[token] if first else self._states[utf8][token]

    @cached_property
    def _states(self) -> list[list[int]]:
        states: list[list[int]] = self.states_UV.tolist()
        return states

    @cached_property
    def _first_states(self) -> list[int]:
        states: list[int] = self.first_states_V.tolist()
        return states

    @cached_property
    def eos(self) -> int:
        """Ends an answer."""
        return self.spelling.after[-1]

    @cached_property
    def states_UV(self) -> np.ndarray:
        """UTF-8 state behind each later token."""
        return self.spelling.utf8_states(self.spelling.later)

    @cached_property
    def first_states_V(self) -> np.ndarray:
        """UTF-8 state behind each first token."""
        return self.states_UV[0] if self.spelling.same_everywhere else self.spelling.utf8_states(self.spelling.first)[0]

    @cached_property
    def writable_UN(self) -> np.ndarray:
        """Tokens, and eos where a character is complete, that UTF-8 allows in each state."""
        allowed_UV = self.states_UV >= 0
        allowed_UV[0, self.eos] = True
        return packed(allowed_UV)

    @cached_property
    def first_mask_N(self) -> np.ndarray:
        """The tokens that may come first in an answer, and eos where the empty answer is complete."""
        if self.spelling.same_everywhere:
            mask_N = self.bit_masks([self.root.deep_copy()])[0]
            return mask_N & self.writable_UN[0]
        first = [_NO_BYTES if text is None else text for text in self.spelling.first]
        allowed_V = self.first_states_V >= 0
        allowed_V[self.eos] = True
        mask_N = self._first_matcher_mask(first) & packed(allowed_V)
        silent_V = np.array([text == b"" for text in self.spelling.first])
        return mask_N | packed(silent_V)

    def _first_matcher_mask(self, first: list[bytes]) -> np.ndarray:
        matcher = self._matcher(_engine_tokenizer(first, self.eos))
        mask_N = np.frombuffer(matcher.compute_bitmask(), "<u4").astype(np.uint32)
        if matcher.is_error():
            if matcher.get_error().startswith(_NO_TOKEN):
                return np.zeros(self.words, np.uint32)
            raise self.failed(matcher)
        return mask_N


def _engine_tokenizer(tokens: list[bytes], eos: int) -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper

    class Vocabulary:
        """What llguidance reads of a tokenizer. It encodes nothing, since nothing is forced."""

        def __init__(self) -> None:
            self.eos_token_id, self.bos_token_id, self.special_token_ids = eos, None, list[int]()
            self.tokens = tokens

        def __call__(self, text: bytes | str) -> list[int]:
            return []

    return LLTokenizer(TokenizerWrapper(Vocabulary()), eos_token=eos)


def _plain(message: str) -> str:
    """llguidance's message without the dump of its state."""
    return message.partition("\n<")[0].strip()
