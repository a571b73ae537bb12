r"""Equality of logical forms: lambda calculus, as in GeoQuery and ATIS, and Prolog, as in JOBS.

Lambda calculus is ``( head argument ... )``, with or without the outermost parentheses: ``count $0 ( state:t $0 )``.
Prolog is goals ``name ( argument , ... )``, joined by ``,`` and ``;``, negated by ``\+``, grouped by parentheses.
Text with one of these three marks is read as Prolog, any other as lambda calculus.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2c_jax.evaluate.metrics.metric import Match

Tree = str | tuple["Tree", ...]

_TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|\\\+|[(),;]|(?:(?!\\\+)[^\s(),;])+")
_COMMUTATIVE = ("and", "or", ",", ";")
_PROLOG = {",", ";", r"\+"}
_PUNCTUATION = {"(", ")", *_PROLOG}


def logic_tree(text: str) -> Tree | None:
    """The tree of a logical form, with the children of ``and``, ``or``, ``,`` and ``;`` sorted; None for no tree."""
    tokens = _TOKEN.findall(text)
    try:
        return _Prolog(tokens).tree() if _PROLOG.intersection(tokens) else _lambda_tree(tokens)
    except (_NoTree, RecursionError):
        return None


def logic_match(prediction: str, reference: str) -> bool:
    """Whether both are the same tree; where the reference is none, whether both are the same words."""
    wanted = logic_tree(reference)
    if wanted is None:
        return prediction.split() == reference.split()
    return logic_tree(prediction) == wanted


class LogicMatch(Match):
    """Exact match of logical forms, the order of conjuncts and disjuncts ignored (Dong & Lapata 2016, section 4)."""

    name = "logic_match"
    title = "Logic match"
    phrase = "the match of logical forms"
    signature = "equal trees, children of and, or, ',' and ';' sorted; else equal words"
    match = staticmethod(logic_match)


class _NoTree(Exception):
    """The text is no logical form."""


def _node(children: Sequence[Tree]) -> Tree:
    if children and children[0] in _COMMUTATIVE:
        return (children[0], *sorted(children[1:], key=repr))
    return tuple(children)


def _lambda_tree(tokens: Sequence[str]) -> Tree:
    open_nodes: list[list[Tree]] = [[]]
    for token in tokens:
        if token == "(":
            open_nodes.append([])
        elif token == ")":
            if len(open_nodes) == 1:
                raise _NoTree
            node = _node(open_nodes.pop())
            open_nodes[-1].append(node)
        else:
            open_nodes[-1].append(token)
    if len(open_nodes) > 1 or not tokens:
        raise _NoTree
    (top,) = open_nodes
    return top[0] if len(top) == 1 else _node(top)


class _Prolog:
    """Recursive descent; ``;`` binds weaker than ``,``, and ``\\+`` strongest."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens, self._place = tokens, 0

    def tree(self) -> Tree:
        found = self._joined(";")
        if self._next():
            raise _NoTree
        return found

    def _next(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _take(self, wanted: str) -> bool:
        matches = self._next() == wanted
        self._place += matches
        return matches

    def _joined(self, operator: str) -> Tree:
        part = self._goal if operator == "," else lambda: self._joined(",")
        parts = [part()]
        while self._take(operator):
            parts.append(part())
        return parts[0] if len(parts) == 1 else _node([operator, *parts])

    def _goal(self) -> Tree:
        if self._take(r"\+"):
            return (r"\+", self._goal())
        if self._take("("):
            return self._closed(self._joined(";"))
        name = self._next()
        if not name or name in _PUNCTUATION:
            raise _NoTree
        self._place += 1
        if not self._take("("):
            return name
        arguments = [self._goal()]
        while self._take(","):
            arguments.append(self._goal())
        return self._closed((name, *arguments))

    def _closed(self, tree: Tree) -> Tree:
        if not self._take(")"):
            raise _NoTree
        return tree
