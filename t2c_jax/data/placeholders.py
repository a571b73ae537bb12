"""Quoted texts under short names, in what a model reads and writes; answers get the texts back.

A file name, a pattern or a message in a request comes back in the code as it is, and may be anything. Under
``config.data.placeholders`` the model sees ``STR0`` in its place: it learns where the text goes, and does not have to
spell it. The systems of Yin & Neubig 2017 and 2018 read Django and CoNaLa that way (in the code beside the papers).

>>> named("print 'hello, world' in 'bold'")
("print 'STR0' in 'STR1'", ('hello, world', 'bold'))
>>> with_names("say('hello, world', bold)", ("hello, world", "bold"))
"say('STR0', STR1)"
>>> with_texts("say('STR0', STR1)", ("hello, world", "bold"))
"say('hello, world', bold)"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

FORMAT = 1
"""Of what stages keep under names."""

NAMES = tuple(f"STR{number}" for number in range(16))
"""Of the quotes of a text, in their order; further ones stay as they are."""

_NAME = re.compile(r"STR(\d+)")
_QUOTED = re.compile(
    r"""(?:^|(?<=[\s(\[{,=:|+]))[bBfFrRuU]{0,2}"""  # not the apostrophe of a word
    r"""(?P<quote>['"`])(?P<text>(?:(?!(?P=quote))[^\\\n]|\\.)+)(?P=quote)(?!\w)"""
)
_BARE = re.compile(r"\w|[^\s'\"`]{2,}")  # texts that code may hold without quotes, such as a variable's name


def named(text: str) -> tuple[str, tuple[str, ...]]:
    """A text with names in the place of its quotes, and what they stand for; a name that it spells itself keeps all."""
    if _NAME.search(text):
        return text, ()
    numbers: dict[str, int] = {}

    def name(match: re.Match[str]) -> str:
        quote, quoted = match["quote"], match["text"]
        if quoted not in numbers and len(numbers) == len(NAMES):
            return match[0]
        before = match[0][: match.start("text") - match.start()]
        return f"{before}STR{numbers.setdefault(quoted, len(numbers))}{quote}"

    return _QUOTED.sub(name, text), tuple(numbers)


def with_names(code: str, texts: Sequence[str]) -> str:
    """Code with names in the place of the texts: of whole literals, and of whole words."""
    if not texts:
        return code
    numbers = {text: number for number, text in enumerate(texts)}
    longest_first = sorted(texts, key=len, reverse=True)
    quoted = "|".join(map(re.escape, longest_first))
    pattern = rf"(?P<quote>['\"`])(?P<quoted>{quoted})(?P=quote)"
    if bare := [text for text in longest_first if _BARE.fullmatch(text)]:
        pattern += rf"|(?<![\w'\"`\\])(?P<bare>{'|'.join(map(re.escape, bare))})(?![\w'\"`])"

    def name(match: re.Match[str]) -> str:
        if (quoted := match["quoted"]) is not None:
            return f"{match['quote']}STR{numbers[quoted]}{match['quote']}"
        return f"STR{numbers[match['bare']]}"

    return re.sub(pattern, name, code)


def with_texts(code: str, texts: Sequence[str]) -> str:
    """Code with the texts in the place of their names. Within quotes, those in a text are escaped."""

    def text_of(match: re.Match[str]) -> str:
        if int(match[1]) >= len(texts):
            return match[0]
        text, before = texts[int(match[1])], code[: match.start()][-1:]
        if before and before in "'\"`" and code[match.end() : match.end() + 1] == before:
            return re.sub(rf"(\\.)|({before})", lambda found: found[1] or f"\\{before}", text)
        return text

    return _NAME.sub(text_of, code) if texts else code


def certain(code: str) -> str:
    """What begins ``with_texts`` of any code that this begins, before it: without what may become a name."""
    return re.sub(r"(?:S|ST|STR\d*)\Z", "", code)


def named_pair(pair: Pair) -> Pair:
    """A pair with names for the quotes of its text; as it is where the code would not come back as it was."""
    text, texts = named(pair.text)
    code = with_names(pair.code, texts)
    if not texts or with_texts(code, texts) != pair.code:
        return pair
    return replace(pair, text=text, code=code)


def named_pairs(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """``named_pair`` of each."""
    return map(named_pair, pairs)
