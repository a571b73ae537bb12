"""Whether an answer of a grammar can end within ``max_tokens``.

A lower bound (``lower_bound``) proves for many grammars that none can.

A breadth-first search over texts finds the shortest finished answer. Where there are too many texts to follow all of
them, it follows a few. Then it can find an answer, but not prove that there is none.

The *kind* of a text is the set of tokens that may follow it. Of several texts of one kind the search follows the one
with most kinds among its beginnings, because it has come furthest: more spaces between two words add no kinds.

The search also visits the grammar's common states. That builds their part of the lexer's automaton before the first
prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax import console
from t2c_jax.decode.grammar.engine import Engine
from t2c_jax.decode.grammar.grammar_sources import KEY
from t2c_jax.decode.grammar.lower_bound import byte_costs, fewest_tokens, unwritable_text
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from llguidance import LLMatcher

_EXHAUSTIVE = 512  # texts of one length, in tokens, that are all followed
_WIDTH = 24  # texts that are followed where there are more
_BUDGET = 20_000  # texts that are looked at
_LONGEST = 16  # tokens of a text that are tried, of the longest ones, where not all are


@dataclass(frozen=True)
class _Text:
    """A text that an answer may begin with."""

    matcher: LLMatcher
    utf8: int
    text: bytes
    allowed_N: np.ndarray
    met: frozenset[bytes]

    @property
    def kind(self) -> bytes:
        return self.allowed_N.tobytes()


@dataclass(frozen=True)
class Finish:
    """What the search found.

    Attributes:
      tokens: of the shortest finished text that was found, without the ids around it; None where none was found.
      exhaustive: whether all texts were followed. Then no finished text is shorter, and there is none where ``tokens``
        is None.
      stuck: whether no token can continue any of the texts.
    """

    tokens: int | None
    exhaustive: bool
    stuck: bool = False


def check_finish(grammar: Engine, max_tokens: int | None) -> None:
    """Whether an answer can end.

    Raises:
      UserError: no answer within ``max_tokens`` can.
    """
    around = len(grammar.spelling.before) + len(grammar.spelling.after)
    limit = _BUDGET if max_tokens is None else max_tokens - around
    found = shortest_finish(grammar, limit) if limit >= 0 else Finish(None, True)
    if found.tokens is not None:
        return
    least = _fewest_tokens(grammar)
    within = f"{KEY}={grammar.spec!r}: no answer ends within config.decode.max_tokens={max_tokens}"
    if least > limit:
        raise UserError(f"{within}, for each has at least {least + around} tokens; increase it")
    if found.stuck:
        raise UserError(f"{KEY}={grammar.spec!r}: no text of it ends that this run's tokenizer can write")
    if found.exhaustive:
        raise UserError(f"{within}; increase it")
    console.warn(f"{within} in a search for the shortest one; answers may not finish")


def _fewest_tokens(grammar: Engine) -> int:
    """A number of tokens that every text has.

    Raises:
      UserError: no text ends, or the tokenizer cannot write any.
    """
    lark, costs = grammar.source.lark, byte_costs(grammar.spelling)
    least = fewest_tokens(lark, costs)
    if least < math.inf:
        return math.ceil(least - 1e-6)
    if fewest_tokens(lark, [1.0] * len(costs)) == math.inf:
        raise UserError(f"{KEY}={grammar.spec!r}: no text of it ends; its rules go round in a circle")
    character = unwritable_text(lark, costs)
    reason = f": every text has a {character!r}" if character else ""
    raise UserError(f"{KEY}={grammar.spec!r}: this run's tokenizer cannot write any text of it{reason}")


def shortest_finish(grammar: Engine, limit: int) -> Finish:
    """The shortest finished text, of at most ``limit`` tokens.

    Raises:
      GrammarError: the engine failed.
    """
    texts = [_Text(grammar.root, 0, b"", grammar.first_mask_N, frozenset())]
    if _ends(grammar, texts[0]):
        return Finish(0, True)
    exhaustive, looked_at = True, 0
    seen: set[bytes] = set()
    varied: dict[bytes, list[int]] = {}
    for tokens in range(1, limit + 1):
        first = tokens == 1
        choices = [_tokens(grammar, text.allowed_N, first=first) for text in texts]
        if exhaustive and sum(map(len, choices)) > _EXHAUSTIVE:
            exhaustive = False
        if not exhaustive:
            choices = [
                varied.get(text.kind) or _varied(grammar, choice, first=first)
                for text, choice in zip(texts, choices, strict=True)
            ]
        children = _continued(grammar, texts, choices, seen, first=first)
        texts = [child for _, _, child in children]
        looked_at += len(texts)
        if any(_ends(grammar, text) for text in texts):
            return Finish(tokens, exhaustive)
        if not texts:
            return Finish(None, exhaustive, stuck=exhaustive)
        if looked_at > _BUDGET:
            return Finish(None, False)
        if not exhaustive:
            if not first:
                _remember(varied, children)
            texts = _different(texts)
    return Finish(None, exhaustive)


def _ends(grammar: Engine, text: _Text) -> bool:
    return bool(text.allowed_N[grammar.eos // 32] >> np.uint32(grammar.eos % 32) & 1)


def _tokens(grammar: Engine, allowed_N: np.ndarray, *, first: bool) -> list[int]:
    """Allowed tokens, one of those with the same text."""
    spelled = grammar.spelling.first if first else grammar.spelling.later
    allowed = np.flatnonzero(np.unpackbits(allowed_N.view(np.uint8), bitorder="little"))
    return list({spelled[i]: i for i in allowed.tolist() if i != grammar.eos}.values())


def _varied(grammar: Engine, tokens: list[int], *, first: bool) -> list[int]:
    """Printable characters and line ends, which close what is open, and the longest texts."""
    spelled = grammar.spelling.first if first else grammar.spelling.later
    texts = {i: spelled[i] or b"" for i in tokens}
    short = [i for i, text in texts.items() if text == b"\n" or (len(text) == 1 and 32 <= text[0] < 127)]
    rest = sorted(set(tokens) - set(short), key=lambda i: (-len(texts[i]), texts[i]))
    return short + rest[:_LONGEST]


def _continued(
    grammar: Engine, texts: list[_Text], choices: list[list[int]], seen: set[bytes], *, first: bool
) -> list[tuple[_Text, int, _Text]]:
    """Parent, token and text of all continuations but those that are ``seen``: they have no more tokens."""
    spelled = grammar.spelling.first if first else grammar.spelling.later
    states_UV = grammar.first_states_V[None] if first else grammar.states_UV
    pairs, parents, written, states = [], [], [], []
    for parent, tokens in zip(texts, choices, strict=True):
        for token in tokens:
            text = parent.text + (spelled[token] or b"")
            if text not in seen:
                seen.add(text)
                pairs.append((parent.matcher.deep_copy(), token))
                parents.append(parent)
                written.append(text)
                states.append(int(states_UV[parent.utf8, token]))
    grammar.feed(pairs, first=first)
    masks = grammar.bit_masks([matcher for matcher, _ in pairs]) & grammar.writable_UN[states]
    return [
        (parent, token, _Text(matcher, state, text, mask, parent.met | {mask.tobytes()}))
        for (matcher, token), parent, state, text, mask in zip(pairs, parents, states, written, masks, strict=True)
        if mask.any()
    ]


def _remember(varied: dict[bytes, list[int]], children: list[tuple[_Text, int, _Text]]) -> None:
    """Notes for each kind of parent the longest and the shortest token that leads to each kind of text."""
    ways: dict[bytes, dict[bytes, list[tuple[int, int]]]] = {}
    for parent, token, child in children:
        found = ways.setdefault(parent.kind, {}).setdefault(child.kind, [])
        found.append((len(child.text) - len(parent.text), token))
    for kind, by_kind in ways.items():
        tokens = [token for each in by_kind.values() for _, token in (min(each), max(each))]
        varied[kind] = list(dict.fromkeys([*varied.get(kind, []), *tokens]))


def _different(texts: list[_Text]) -> list[_Text]:
    """The texts to follow, of different kinds."""
    kinds: dict[bytes, _Text] = {}
    for text in sorted(texts, key=lambda text: (-len(text.met), -len(text.text), text.text)):
        kinds.setdefault(text.kind, text)
    return list(kinds.values())[:_WIDTH]
