"""A number of tokens below which no text of a grammar can be written.

A byte costs at least one divided by the length of the longest token that holds it. The cost of a rule is that of its
cheapest alternative, and the costs of all rules are the least solution of these equations. Whatever is not understood
costs nothing, as do conditions of parameters. So the bound is never too high, but it may be too low.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from t2c_jax.decode.grammar.spelling import Spelling

INFINITE = math.inf
Cost = Callable[[Mapping[str, float]], float]
"""The cost of an expression, given those of the rules."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|//[^\n]*|\#[^\n]*)|(?P<newline>\r?\n)|(?P<string>"(?:\\.|[^"\\\n])*"i?)
    |(?P<regex>/(?:\\.|[^/\\\n])+/[imslux]*)|(?P<special><[^<>\n]*>)|(?P<parameter>::(?:\[\d+:\d+\]|\w+(?:\([^()\n]*\))?))
    |(?P<directive>%\w+)|(?P<name>[!?]?[A-Za-z_][\w-]*)|(?P<number>\d+)|(?P<mark>->|\.\.|[:|()\[\]{},~*+?&.@=])""",
    re.VERBOSE,
)
_DIGITS = "0123456789"


class _NotUnderstood(Exception):
    """The grammar is of a form that this module does not know."""


def byte_costs(spelling: Spelling) -> list[float]:
    """The least part of a token that each of the 256 bytes takes; infinite where no token holds it."""
    costs = [INFINITE] * 256
    for text in {*spelling.first, *spelling.later} - {None, b""}:
        for byte in set(text or b""):
            costs[byte] = min(costs[byte], 1 / len(text or b""))
    return costs


def fewest_tokens(lark: str, costs: Sequence[float]) -> float:
    """The bound, with fractions of tokens; infinite where no text ends that the tokenizer can write."""
    try:
        return _rule_costs(_Lark(lark, costs).rules()).get("start", 0.0)
    except (_NotUnderstood, RecursionError):
        return 0.0


def unwritable_text(lark: str, costs: Sequence[float]) -> str | None:
    """A character that every text of the grammar holds and no token; None where that is not what the bound is for."""
    cheap = [cost if cost < INFINITE else 1.0 for cost in costs]
    for byte in [*b"\n\t ", *range(33, 127)]:
        if costs[byte] == INFINITE and fewest_tokens(lark, [*cheap[:byte], INFINITE, *cheap[byte + 1 :]]) == INFINITE:
            return chr(byte)
    return None


def _rule_costs(rules: Mapping[str, Cost]) -> dict[str, float]:
    costs, has_changed = dict.fromkeys(rules, INFINITE), True
    while has_changed:
        has_changed = False
        for name, cost in rules.items():
            if (new := cost(costs)) < costs[name] - 1e-9:
                costs[name], has_changed = new, True
    return costs


def _times(count: int, cost: Cost) -> Cost:
    return (lambda rules: count * cost(rules)) if count else _nothing


def _sum(costs: Sequence[Cost]) -> Cost:
    return lambda rules: sum(cost(rules) for cost in costs)


def _least(costs: Sequence[Cost]) -> Cost:
    return lambda rules: min((cost(rules) for cost in costs), default=INFINITE)


def _most(costs: Sequence[Cost]) -> Cost:
    return lambda rules: max(cost(rules) for cost in costs)


def _nothing(rules: Mapping[str, float]) -> float:
    return 0.0


def _constant(cost: float) -> Cost:
    return lambda rules: cost


class _Characters:
    """Costs of characters."""

    def __init__(self, costs: Sequence[float]) -> None:
        self._costs, self.any = costs, min(costs)

    def text(self, text: str, fold: bool = False) -> float:
        return sum(self.one_of((letter.lower(), letter.upper()) if fold else letter) for letter in text)

    def one_of(self, letters: Sequence[str]) -> float:
        """The cheapest of some characters; what is not ASCII costs as little as anything."""
        costs = [self._costs[ord(letter)] if letter.isascii() and len(letter) == 1 else self.any for letter in letters]
        return min(costs, default=INFINITE)


class _Lark:
    """A reader of llguidance's dialect of Lark."""

    def __init__(self, text: str, costs: Sequence[float]) -> None:
        self._text, self._characters = text, _Characters(costs)
        self._tokens = list(self._read())
        self._at = 0

    def _read(self) -> Iterator[tuple[str, Any]]:
        place = 0
        while place < len(self._text):
            found = _TOKEN.match(self._text, place)
            if found is None:
                raise _NotUnderstood
            kind, place = str(found.lastgroup), found.end()
            if kind == "directive" and found[0] in ("%json", "%regex", "%llguidance", "%lark"):
                start = re.compile(r"\s*").match(self._text, place)
                try:
                    value, place = json.JSONDecoder().raw_decode(self._text, start.end() if start else place)
                except ValueError:
                    raise _NotUnderstood from None
                yield found[0], value
            elif kind != "space":
                yield kind, found[0]
        yield "newline", "\n"

    def _next(self, offset: int = 0) -> tuple[str, Any]:
        place = self._at + offset
        return self._tokens[place] if place < len(self._tokens) else ("end", "")

    def _accept(self, *marks: str) -> str:
        kind, text = self._next()
        if kind in ("mark", "newline") and text in marks:
            self._at += 1
            return str(text)
        return ""

    def _expect(self, mark: str) -> None:
        if not self._accept(mark):
            raise _NotUnderstood

    def rules(self) -> dict[str, Cost]:
        """The cost of each rule and terminal."""
        rules: dict[str, Cost] = {}
        while (token := self._next())[0] != "end":
            kind, text = token
            self._at += 1
            if kind == "directive":
                self._skip_line()
            elif kind == "name":
                self._skip_until(":")
                rules[text.lstrip("!?")] = self._alternatives(is_rule=True)
                if not self._accept("\n", "\r\n") and self._next()[0] != "end":
                    raise _NotUnderstood
            elif kind not in ("newline", "%llguidance"):
                raise _NotUnderstood
        return rules

    def _skip_line(self) -> None:
        while self._next()[0] not in ("newline", "end"):
            self._at += 1

    def _skip_until(self, mark: str) -> None:
        """Attributes, priorities and the parameter's name."""
        while self._next() != ("mark", mark):
            if self._next()[0] in ("newline", "end"):
                raise _NotUnderstood
            self._at += 1
        self._at += 1

    def _alternatives(self, *, is_rule: bool = False) -> Cost:
        alternatives = [self._intersection()]
        while self._accept_bar(is_rule):
            alternatives.append(self._intersection())
        return _least(alternatives)

    def _accept_bar(self, is_rule: bool) -> bool:
        """``|``, which in a rule may begin a line."""
        if self._accept("|"):
            return True
        ahead = 0
        while is_rule and self._next(ahead)[0] == "newline":
            ahead += 1
        if ahead and self._next(ahead) == ("mark", "|"):
            self._at += ahead + 1
            return True
        return False

    def _intersection(self) -> Cost:
        parts = [self._sequence()]
        while self._accept("&"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _most(parts)

    def _sequence(self) -> Cost:
        parts = []
        while (part := self._repeated()) is not None:
            parts.append(part)
        if self._accept("->"):
            self._at += 1
        if self._next() == ("directive", "%if"):  # a condition takes texts away
            while self._next()[0] not in ("newline", "end") and self._next() != ("mark", "|"):
                self._at += 1
        return _sum(parts)

    def _repeated(self) -> Cost | None:
        part = self._part()
        if part is None:
            return None
        if self._accept("?", "*"):
            return _nothing
        if self._accept("+"):
            return part
        if self._accept("{"):
            least = self._number() if self._next()[0] == "number" else 0
            self._skip_until("}")
            return _times(least, part)
        if self._next() == ("mark", "~") and self._next(1)[0] == "number":
            self._at += 1
            least = self._number()
            if self._accept(".."):
                self._number()
            return _times(least, part)
        return part

    def _number(self) -> int:
        kind, text = self._next()
        if kind != "number":
            raise _NotUnderstood
        self._at += 1
        return int(text)

    def _part(self) -> Cost | None:
        kind, text = self._next()
        if kind == "mark":
            return self._marked(text)
        if kind in ("newline", "end", "directive"):
            return None
        self._at += 1
        if kind == "name":
            if self._next()[0] == "parameter":
                self._at += 1
            return lambda rules: rules.get(text, 0.0)
        if kind == "string":
            letters, fold = json.loads(text.removesuffix("i")), text.endswith("i")
            if self._accept(".."):
                last = json.loads(self._next()[1])
                self._at += 1
                return _constant(
                    self._characters.one_of([chr(i) for i in range(ord(letters), min(ord(last), 128) + 1)])
                )
            return _constant(self._characters.text(letters, fold))
        if kind == "regex":
            body, _, flags = text[1:].rpartition("/")
            return _constant(regex_cost(body, self._characters, flags))
        if kind == "%json":
            return _constant(_Schema(text, self._characters).cost(text))
        if kind in ("special", "%regex", "%lark"):
            return _nothing
        raise _NotUnderstood

    def _marked(self, mark: str) -> Cost | None:
        if mark in ("(", "["):
            self._at += 1
            inner = self._alternatives()
            self._expect(")" if mark == "(" else "]")
            return inner if mark == "(" else _nothing
        if mark == "~":
            self._at += 1
            self._part()
            return _nothing
        if mark == "@":
            self._at += 2
            return _nothing
        return None


def regex_cost(pattern: str, characters: _Characters, flags: str = "") -> float:
    """The cost of the cheapest match of a regular expression."""
    if "x" in flags:
        return 0.0
    try:
        reader = _Regex(pattern, characters, "i" in flags or "(?i" in pattern)
        cost = reader.alternatives()
    except (_NotUnderstood, IndexError):
        return 0.0
    return cost if reader.at == len(pattern) else 0.0


class _Regex:
    """A reader of Rust's regular expressions."""

    def __init__(self, pattern: str, characters: _Characters, fold: bool) -> None:
        self._pattern, self._characters, self._fold, self.at = pattern, characters, fold, 0

    def _ahead(self, text: str) -> bool:
        if self._pattern.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def alternatives(self) -> float:
        """Up to a closing bracket or the end."""
        costs = [self._sequence()]
        while self._ahead("|"):
            costs.append(self._sequence())
        return min(costs)

    def _sequence(self) -> float:
        cost = 0.0
        while self.at < len(self._pattern) and self._pattern[self.at] not in "|)":
            one = self._atom()
            least = self._least()
            cost += least * one if least else 0.0
        return cost

    def _least(self) -> int:
        least = 1
        while self.at < len(self._pattern):
            if self._ahead("*") or self._ahead("?"):
                least = 0
            elif found := re.compile(r"\{(\d*)(?:,\d*)?\}").match(self._pattern, self.at):
                least, self.at = least * int(found[1] or 0), found.end()
            elif not self._ahead("+"):
                break
        return least

    def _atom(self) -> float:
        letter = self._pattern[self.at]
        self.at += 1
        if letter == "(":
            return self._group()
        if letter == "[":
            return self._class()
        if letter == "\\":
            return self._escape()
        if letter == ".":
            return self._characters.any
        if letter in "^$":
            return 0.0
        return self._characters.text(letter, self._fold)

    def _group(self) -> float:
        if self._ahead("?"):
            found = re.compile(r"(?:P?<\w+>|[a-zA-Z-]*:|[a-zA-Z-]+(?=\)))").match(self._pattern, self.at)
            if found is None or "x" in found[0]:
                raise _NotUnderstood
            self.at = found.end()
            if self._ahead(")"):
                return 0.0
        cost = self.alternatives()
        if not self._ahead(")"):
            raise _NotUnderstood
        return cost

    def _escape(self) -> float:
        letter = self._pattern[self.at]
        self.at += 1
        named = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
        if letter in named:
            return self._characters.text(named[letter])
        if letter in "bBAzZ<":
            return 0.0
        if letter in "xuU":
            found = re.compile(r"\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{2,8}").match(self._pattern, self.at)
            self.at = found.end() if found else self.at
            return self._characters.any
        if letter in "pP":
            found = re.compile(r"\{[^}]*\}|\w").match(self._pattern, self.at)
            self.at = found.end() if found else self.at
            return self._characters.any
        return self._characters.any if letter.isalnum() else self._characters.text(letter)

    def _class(self) -> float:
        """The cheapest character; where the class is more than a list of ASCII characters and ranges, of all."""
        found = re.compile(r"\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]").match(self._pattern, self.at)
        if found is None:
            raise _NotUnderstood
        self.at = found.end()
        body = found[0][:-1]
        if body.startswith("^") or not body.isascii() or re.search(r"\\[a-zA-Z0-9]|\[|&&|--|~~", body):
            return self._characters.any
        letters: list[str] = []
        for part in re.finditer(r"(\\.|[^\\])-(\\.|[^\\])|(\\.|[^\\])", body, re.DOTALL):
            first, last, one = (each and each[-1] for each in part.groups())
            letters += [one] if one else [chr(i) for i in range(ord(first), ord(last) + 1)]
        if self._fold:
            letters += [letter.swapcase() for letter in letters]
        return self._characters.one_of(letters)


class _Schema:
    """The cost of the cheapest JSON that a schema describes."""

    def __init__(self, root: Any, characters: _Characters) -> None:
        self._root, self._characters, self._left = root, characters, 10_000

    def cost(self, schema: Any, seen: frozenset[str] = frozenset()) -> float:
        """Of a part of the schema; ``seen`` are the references that lead to it."""
        self._left -= 1
        if self._left < 0:
            raise _NotUnderstood
        if not isinstance(schema, dict):
            return INFINITE if schema is False else self._characters.any
        costs = [self._of_type(schema, kind, seen) for kind in _types(schema)]
        bounds = [min(costs) if costs else self._characters.any]
        if "const" in schema:
            bounds.append(self._value(schema["const"]))
        if isinstance(schema.get("enum"), list):
            bounds.append(min(map(self._value, schema["enum"]), default=INFINITE))
        bounds += [
            min((self.cost(each, seen) for each in schema[key]), default=0.0)
            for key in ("anyOf", "oneOf")
            if isinstance(schema.get(key), list)
        ]
        if isinstance(schema.get("allOf"), list):
            bounds += [self.cost(each, seen) for each in schema["allOf"]]
        if isinstance(reference := schema.get("$ref"), str):
            bounds.append(INFINITE if reference in seen else self._reference(reference, seen))
        return max(bounds)

    def _reference(self, reference: str, seen: frozenset[str]) -> float:
        if not reference.startswith("#"):
            return self._characters.any
        part = self._root
        for key in filter(None, reference[1:].split("/")):
            key = key.replace("~1", "/").replace("~0", "~")
            if not isinstance(part, dict) or key not in part:
                return self._characters.any
            part = part[key]
        return self.cost(part, seen | {reference})

    def _value(self, value: Any) -> float:
        if isinstance(value, str):
            plain = value.isascii() and value.isprintable() and not set(value) & set('"\\/')
            return 2 * self._characters.text('"') + (self._characters.text(value) if plain else 0.0)
        if isinstance(value, bool) or value is None:
            return self._characters.text(json.dumps(value))
        return self._characters.any

    def _of_type(self, schema: Mapping[str, Any], kind: str, seen: frozenset[str]) -> float:
        of = self._characters.text
        if kind == "string":
            return 2 * of('"') + _count(schema, "minLength") * self._characters.any
        if kind in ("integer", "number"):
            return self._characters.one_of(_DIGITS)
        if kind == "boolean":
            return min(of("true"), of("false"))
        if kind == "null":
            return of("null")
        if kind == "array":
            count = _count(schema, "minItems")
            items = self.cost(schema.get("items", True), seen) if "prefixItems" not in schema else self._characters.any
            return of("[]") + (count * items + (count - 1) * of(",") if count else 0.0)
        if kind == "object":
            required = schema.get("required", [])
            known = schema.get("properties", {})
            parts = [self._value(key) + of(":") + self.cost(known.get(key, True), seen) for key in required]
            return of("{}") + sum(parts) + max(len(parts) - 1, 0) * of(",")
        return self._characters.any


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return kinds if isinstance(kinds, list) else [kinds]


def _count(schema: Mapping[str, Any], key: str) -> int:
    value = schema.get(key, 0)
    return value if isinstance(value, int) else 0
