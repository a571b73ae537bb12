"""Languages by the names that authors of documents give them, with their spelling mistakes."""

from __future__ import annotations

import functools

from pygments.lexers import get_all_lexers

from t2c_jax.languages.aliases import canonical, is_canonical
from t2c_jax.languages.lexers import find_lexer
from t2c_jax.languages.syntax_trees import has_tree

OTHER = "other"
_SHORTEST = 5  # letters of a name that may be misspelt


@functools.cache
def language_as_written(name: str) -> str:
    """The language that a document means, as ``aliases.canonical`` names it; ``OTHER`` if no such language is known.

    Names are known to ``aliases``, to tree-sitter or to Pygments. A longer name with one letter too many, too few,
    wrong or swapped is that of the language, if it can only be one.
    """
    return _known(name) or _misspelt(canonical(name)) or OTHER


def _known(name: str) -> str:
    name = canonical(name)
    if is_canonical(name) or has_tree(name):
        return name
    lexer = find_lexer(name)
    return canonical(lexer.aliases[0]) if lexer is not None and lexer.aliases else ""


def _misspelt(name: str) -> str:
    if len(name) < _SHORTEST:
        return ""
    meant = {_known(known) for known in _names() if known[:1] == name[:1] and _is_one_mistake(name, known)} - {""}
    return meant.pop() if len(meant) == 1 else ""


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(alias.lower() for _, aliases, _, _ in get_all_lexers(plugins=False) for alias in aliases)


def _is_one_mistake(name: str, known: str) -> bool:
    """Whether one letter is inserted, left out, replaced or swapped with the next."""
    if abs(len(name) - len(known)) > 1 or len(known) < _SHORTEST - 1:
        return False
    begin = 0
    while begin < min(len(name), len(known)) and name[begin] == known[begin]:
        begin += 1
    rest, right = name[begin:], known[begin:]
    is_swapped = rest[:2] == right[1::-1] and rest[2:] == right[2:]
    return rest[1:] == right or rest == right[1:] or rest[1:] == right[1:] or is_swapped
