"""Texts that say nothing about their code: placeholders, phrases that tools and habits put there, the name again."""

from __future__ import annotations

import re
from collections.abc import Callable

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair
from t2c_jax.languages.subtokens import subtokens

_DEFINITIONS = ("function", "method", "class")  # kinds whose text may begin with a signature


def _phrases(*phrases: str) -> re.Pattern[str]:
    """A whole text that is one of these, without the signs around it."""
    return re.compile(rf"(?is)(?:{'|'.join(phrases)})")


_UNFINISHED = _phrases(
    r"",
    r"(?:todo|fixme|xxx|hack|wip|tbd|tba)\b.*",
    r"to be (?:done|documented|written|defined|implemented|added)",
    r"(?:not (?:yet )?|un)(?:documented|implemented|described)(?: yet)?",
    r"(?:no|missing|add|insert|write|put)(?: an?| the| your| some)?"
    r" (?:doc(?:string|umentation|s)?|descriptions?|summary|comments?)"
    r"(?: (?:yet|available|provided|here|given|for this \w+))?",
    r"_?(?:summary|description|type)_?(?: here)?",
    r"(?:brief|short) description(?: of (?:the )?(?:file|function|method|class))?",
    r"lorem ipsum.*",
    r"n/?a|none",
    r"docstring",
)
_OF_A_PARENT = r"(?:base|super|parent|abstract)[ -]?(?:class|method|type|implementation)?|[\w.#:]+"
_REFERENCE = r"(?::[\w:]+:)?[`'\"]{0,2}[~.]?\w[\w.#:]*(?:\(\))?[`'\"]{0,2}"
_BOILERPLATE = _phrases(
    r"inherit(?:ed)?_?doc(?:s|umentation)?\b.*",
    r"non-javadoc\b.*",
    r"auto-?generated (?:method|constructor|catch|function) (?:stub|block).*",
    r"[@\\]?copy(?:doc|brief|details)\b.*",
    r"(?:this (?:function|method|class|module) (?:is|has been) )?deprecated(?: (?:function|method|class))?",
    r"meta private",
    r"(?:see|refer to)(?: the)? (?:(?:doc(?:string|umentation|s)?|comments?)(?: (?:of|for|in|at|on|from))?(?: the)? )?"
    r"(?:[`'\"]?[\w.]+[`'\"]? )?(?:base|super|parent)[ -]?class(?:'s)?(?: (?:doc(?:string|umentation|s)?|method))?"
    r"(?: for (?:more )?(?:details|documentation|docs|information))?",
    rf"(?:see|refer to)(?: (?:the )?(?:doc(?:string|umentation|s)?) (?:of|for|in|at|on|from))? {_REFERENCE}"
    r"(?: for (?:more )?(?:details|documentation|docs|information))?",
    r"(?:see|refer to|cf\.?)?:? ?https?://\S+(?:\s+https?://\S+)*",
    r"(?:see|cf\.?|refer to|same as|documented in|inherited from|implements?(?: method)?"
    r"|overrid(?:es?|den|ing)(?: from| in| method in)?)(?: the)?(?: documentation)?(?: (?:of|for|in|at|from))?(?: the)?"
    rf" ?(?:{_OF_A_PARENT})",
    r"(?:the )?(?:default|empty|no-?arg(?:ument)?s?|private|public|copy|move|virtual)? ?"
    r"(?:constructor|destructor|initiali[sz]er|ctor|dtor)(?: (?:method|function))?",
    r"(?:the )?(?:simple )?(?:getter|setter|accessor|mutator|getter/setter|main|init|helper|utility|internal|private"
    r"|test|callback)(?: (?:method|function|class|entry ?point))?",
    r"initiali[sz]e self\.? *see help\(type\(self\)\) for accurate signature",
    r"return (?:self[<>=!]=?value|(?:repr|str|hash|iter|len|next)\(self)",
    r"(?:created|written|added|modified) (?:by|on) .{0,60}|author:? .{0,60}|since .{0,40}",
    r"this (?:is an? )?(?:docstring|comment|(?:function|method|class))",
)
_LICENCE = re.compile(
    r"(?i)\A\W*(?:copyright\b|\(c\) ?\d{4}|©|licensed under the\b|permission is hereby granted\b"
    r"|spdx-license-identifier|redistribution and use in source\b"
    r"|this (?:program|file|software|library) is (?:free software|licensed|part of)\b)"
)
_FILLERS = {
    *("a", "an", "the", "this", "that", "of", "for", "to", "in", "on", "by", "with", "from", "and", "or", "is", "are"),
    *("be", "it", "its", "as", "at", "given", "specified", "current", "new", "value", "values", "object", "instance"),
    *("return", "returns", "returned", "get", "gets", "set", "sets", "method", "function", "class", "constructor"),
    *("property", "getter", "setter", "self", "if", "whether"),
}
_WORD = re.compile(r"[A-Za-z]+")
_SIGNATURE = re.compile(r"([\w:.~]+)\(.*\)\s*->\s*(?:\S+|\([^()]*\))")
_BEFORE_HEADER = re.compile(r"\s*(?:@(?!interface\b)[\w.]+(?:\s*(?=\())?|#!?(?=\[)|(?=\[)|template\s*(?=<))")
_OF_TYPE = re.compile(
    r"\b(?:class|struct|union|enum|interface|trait|protocol|record|concept|using|object|typealias|type|actor|module)\s+"
    r"(?:class\s+)?([A-Za-z_$][\w$]*)"
)
_NAME = re.compile(r"(~?[A-Za-z_$][\w$]*)\s*(?:<[^<>()]*>)?\s*(?:[({=]|:(?!:))")
_CLOSING = {"(": ")", "[": "]", "<": ">"}
_LONGEST_HEADER = 2000  # characters


def _name(pair: Pair) -> str:
    """The name in the header, behind attributes, decorators and parameters of templates; empty where none is found."""
    code, start = pair.code[:_LONGEST_HEADER], 0
    while before := _BEFORE_HEADER.match(code, start):
        start = before.end()
        if code[start : start + 1] in _CLOSING:
            start = _behind_bracket(code, start)
    found = (_OF_TYPE.search(code, start, start + 200) if pair.kind == "class" else None) or _NAME.search(code, start)
    return found[1] if found else ""


def _behind_bracket(code: str, start: int) -> int:
    opening, depth = code[start], 0
    for place in range(start, len(code)):
        depth += (code[place] == opening) - (code[place] == _CLOSING[opening])
        if not depth:
            return place + 1
    return len(code)


def _says_only_its_name(prose: str, pair: Pair) -> bool:
    """Whether each word of a short text is a part of the definition's name, or a filler; or it is the signature."""
    if pair.kind not in _DEFINITIONS:
        return False
    if len(prose) > 80 or "->" in prose:
        return _is_signature(prose, pair)
    name = {_stem(part) for part in subtokens(_name(pair))}
    words = [word.lower() for word in _WORD.findall(prose)]
    return bool(name and words) and all(word in _FILLERS or _stem(word) in name for word in words)


def _is_signature(prose: str, pair: Pair) -> bool:
    """Whether a line is the definition's name with parameters and a type, such as ``lib::f(T a) -> T``."""
    if "\n" in prose or not (found := _SIGNATURE.fullmatch(prose)):
        return False
    name = _name(pair)
    return any(len(part) > 1 and name.startswith(part) for part in re.split(r"\W+", found[1]))


def _stem(word: str) -> str:
    word = word.lower()
    for ending in ("ing", "ies", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word.removesuffix("e") if len(word) > 3 else word


def _core(prose: str) -> str:
    """Without what is neither a letter nor a digit at both ends."""
    begin, end = 0, len(prose)
    while begin < end and not prose[begin].isalnum():
        begin += 1
    while end > begin and not prose[end - 1].isalnum():
        end -= 1
    return prose[begin:end]


def _is_unfinished(prose: str, pair: Pair) -> bool:
    return bool(_UNFINISHED.fullmatch(_core(prose)))


def _is_boilerplate(prose: str, pair: Pair) -> bool:
    return bool(_LICENCE.search(prose) or (len(prose) <= 200 and _BOILERPLATE.fullmatch(_core(prose))))


_RULES: dict[str, tuple[str, Callable[[str, Pair], bool]]] = {
    "unfinished": ("text is a placeholder", _is_unfinished),
    "boilerplate": ("text is boilerplate", _is_boilerplate),
    "restated": ("text says only the name", _says_only_its_name),
}
PROSE_RULES = tuple(_RULES)
_LANGUAGE = "text in another language than text_language"

# The most frequent words of languages with Latin letters that no other of these languages has.
_FREQUENT = {
    "en": "the of and to is that for with this from are it be by not or which when",
    "de": "der die das und ist nicht mit ein eine für auf dem den wird werden oder von zu",
    "fr": "le la les des est et une dans pour pas sur avec qui que du cette sont ou",
    "es": "el los las del que una para con por es en se como está son esta al",
    "pt": "o os do da dos das não uma para com por em que é são ao na no",
    "it": "il lo gli della che di una per con non è sono del nel dei alla",
    "nl": "de het een van en is niet met voor dat op te zijn wordt naar deze",
    "pl": "w nie na do jest się z że o dla przez jako lub są od",
    "sv": "och att det som en är av för på med inte den ett till",
    "tr": "bir ve bu için ile olarak değil olan veya da de her",
    "cs": "je na se že ve pro jako nebo není která při jsou",
}
_SCRIPTS = {
    "ru": r"[\u0400-\u04ff]", "uk": r"[\u0400-\u04ff]", "bg": r"[\u0400-\u04ff]", "zh": r"[\u4e00-\u9fff]",
    "ja": r"[\u3040-\u30ff\u4e00-\u9fff]", "ko": r"[\uac00-\ud7af]", "ar": r"[\u0600-\u06ff]", "el": r"[\u0370-\u03ff]",
    "he": r"[\u0590-\u05ff]", "th": r"[\u0e00-\u0e7f]", "hi": r"[\u0900-\u097f]",
}  # fmt: skip
TEXT_LANGUAGES = tuple(sorted({*_FREQUENT, *_SCRIPTS}))
_FREQUENT_SETS = {language: frozenset(words.split()) for language, words in _FREQUENT.items()}
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_LETTER = re.compile(r"[^\W\d_]")
_ANY_WORD = re.compile(r"[^\W\d_]+")


def is_language(prose: str, language: str) -> bool:
    """Whether a text may be of a language, by its script and its most frequent words. Short texts always may."""
    letters = len(_LETTER.findall(prose))
    if not letters:
        return True
    own_script = len(re.findall(_SCRIPTS[language], prose)) if language in _SCRIPTS else len(_LATIN.findall(prose))
    if language in _SCRIPTS:
        return own_script >= 0.2 * letters  # names and code in it are Latin
    if own_script < 0.7 * letters:
        return False
    words = [word.lower() for word in _ANY_WORD.findall(prose)]
    counts = {name: sum(word in frequent for word in words) for name, frequent in _FREQUENT_SETS.items()}
    others = max(count for name, count in counts.items() if name != language)
    return others < 3 or others <= counts[language]


class ProseRules:
    """The rules of config.corpus.prose and config.corpus.text_language."""

    def __init__(self, config: CorpusConfig) -> None:
        self._rules = [_RULES[name] for name in config.prose]
        self._language = config.text_language
        self._has_signature = config.text.startswith("signature+")
        self._has_prose = config.text != "name"

    def __call__(self, pair: Pair) -> str:
        """The rule that the pair breaks; empty if there is none."""
        if not (self._has_prose and pair.text):
            return ""
        prose = pair.text
        if self._has_signature and pair.kind in _DEFINITIONS and "\n" in prose:
            prose = prose.partition("\n")[2]
        prose = prose.strip()
        if not prose:
            return ""
        for rule, breaks in self._rules:
            if breaks(prose, pair):
                return rule
        if self._language and not is_language(prose, self._language):
            return _LANGUAGE
        return ""
