"""CodeBLEU by the arithmetic of the package ``codebleu`` 0.7.0, to compare with published scores.

The package is kept for comparison alone; ``codebleu`` repairs what it counts wrong. Its differences from the paper:

- ``str.split`` makes tokens, so ``if(x):`` holds no keyword.
- The weighted part is a recall of n-grams. Its brevity penalty takes every reference for two tokens long, since it
  measures the pair of tokens and weights.
- A sub-tree of the reference counts each time that it occurs there, if the answer has it once.
- Code of fewer than four tokens counts as if it had one n-gram of each length, unmatched. So equal code scores below
  100.
- A data flow score of 0 counts as 1 in the mean.
- Of a variable that is assigned twice, the package orders the sources by a hash table, so that its score differs from
  process to process. Here they are in the order in which they are found.
"""

from __future__ import annotations

import io
import math
import re
import tokenize
from collections import Counter
from collections.abc import Sequence

from t2c_jax.evaluate.metrics.codebleu import (
    COLUMNS,
    FLOW,
    LENGTHS,
    MATCHED,
    ORDERS,
    OTHER_WORDS,
    SYNTAX,
    TOTAL,
    CodeBleuPart,
    CodeBleuScore,
    brevity_penalty,
    ngrams,
)
from t2c_jax.evaluate.metrics.published_flow import PUBLISHED_RULES, published_flow, published_numbers
from t2c_jax.languages.keywords import keywords
from t2c_jax.languages.subtrees import Subtrees
from t2c_jax.languages.syntax_trees import encoded, parse, tree_grammars

_UNMATCHED = 0.1  # matches that an order without any is given
_RECALLED, _TO_RECALL = range(COLUMNS, COLUMNS + ORDERS), range(COLUMNS + ORDERS, COLUMNS + 2 * ORDERS)
_WRONG_LENGTH = COLUMNS + 2 * ORDERS
_COMMENT_OR_STRING = re.compile(r"""//[^\n]*|/\*.*?\*/|'(?:\\.|[^\\'])*'|"(?:\\.|[^\\"])*\"""", re.DOTALL)


class PublishedCodeBleu(CodeBleuScore):
    """CodeBLEU as the package ``codebleu`` 0.7.0 computes it with its default tokens and weights."""

    name = "codebleu_published"
    title = "CodeBLEU, package"
    phrase = "CodeBLEU of the package"
    parts = (
        "codebleu_published_ngram",
        "codebleu_published_weighted",
        "codebleu_published_syntax",
        "codebleu_published_dataflow",
    )
    signature = "arithmetic of codebleu 0.7.0: tokens by str.split, weighted recall, data flow of 0 counted as 1"
    columns = COLUMNS + 2 * ORDERS + 1

    def counts(self, language: str, reference: str, answer: str) -> list[float] | None:
        """The columns of an example."""
        if language not in PUBLISHED_RULES:
            return None
        texts = (answer.strip(), reference.strip())
        ours, theirs = (text.split() for text in texts)
        weights = keywords(language)
        row = [float(len(ours)), float(len(theirs)), *[0.0] * (self.columns - 2)]
        for index in range(ORDERS):
            given, wanted = ngrams(ours, index + 1), ngrams(theirs, index + 1)
            both = given & wanted
            row[MATCHED[index]], row[TOTAL[index]] = both.total(), max(1, given.total())
            row[_RECALLED[index]], row[_TO_RECALL[index]] = both.total(), max(1, wanted.total())
            if not index:
                recalled, to_recall = (
                    sum(count * (1 if word in weights else OTHER_WORDS) for (word,), count in each.items())
                    for each in (both, wanted)
                )
                row[_RECALLED[0]], row[_TO_RECALL[0]] = recalled, max(1, to_recall)
        row[_WRONG_LENGTH] = 2
        plain = [_without_comments(text, language) for text in texts]
        module = tree_grammars.get(language, "language").module
        entry = "language_php" if language == "php" else "language"
        roots = [parse(encoded(text), module, entry).root_node for text in plain]
        subtrees = Subtrees()
        found = [subtrees.of(root) for root in roots]
        for root, (number, trees) in zip(roots, found, strict=True):
            trees[number] += not root.child_count  # a root without children is a sub-tree too
        (_, our_trees), (_, their_trees) = found
        row[SYNTAX[0]] = sum(count for tree, count in their_trees.items() if tree in our_trees)
        row[SYNTAX[1]] = their_trees.total()
        our_flow, their_flow = (
            Counter(published_numbers(published_flow(root, text.split("\n"), PUBLISHED_RULES[language])))
            for root, text in zip(roots, plain, strict=True)
        )
        row[FLOW[0]], row[FLOW[1]] = (our_flow & their_flow).total(), their_flow.total()
        return row

    def part(self, index: int, sums: Sequence[float]) -> float:
        """One of the four parts, 0 to 1."""
        if not sums[SYNTAX[1]]:
            return math.nan
        if index < 2:
            matched, total = ((MATCHED, TOTAL), (_RECALLED, _TO_RECALL))[index]
            if not sums[matched[0]]:
                return 0.0
            shares = [(sums[hits] or _UNMATCHED) / sums[of] for hits, of in zip(matched, total, strict=True)]
            mean = math.exp(sum(map(math.log, shares)) / ORDERS)
            return mean * brevity_penalty(sums[LENGTHS[0]], sums[_WRONG_LENGTH if index else LENGTHS[1]])
        hits, of = (sums[column] for column in (SYNTAX, FLOW)[index - 2])
        return hits / of if of else 0.0

    def score(self, sums: Sequence[float]) -> float:
        """The mean of the four parts, in percent, where a data flow of 0 counts as 1."""
        *others, flow = (self.part(index, sums) for index in range(4))
        return 25 * (sum(others) + (flow or 1))


def _without_comments(code: str, language: str) -> str:
    """The code as the package parses it: without comments, docstrings and blank lines."""
    if language == "ruby":
        return code
    if language == "python":
        try:
            plain = _without_docstrings(code)
        except (tokenize.TokenError, SyntaxError, ValueError):
            return code
    else:
        plain = _COMMENT_OR_STRING.sub(lambda found: " " if found[0].startswith("/") else found[0], code)
    return "\n".join(line for line in plain.split("\n") if line.strip())


def _without_docstrings(code: str) -> str:
    """A string counts as a docstring where it begins a statement, and at the left margin."""
    removed, before = [], tokenize.INDENT
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        is_docstring = token.type == tokenize.STRING and (
            before in (tokenize.INDENT, tokenize.NEWLINE) or not token.start[1]
        )
        if is_docstring or token.type == tokenize.COMMENT:
            removed.append((token.start, token.end))
        before = token.type
    lines = io.StringIO(code).readlines()
    for (first, column), (last, end) in reversed(removed):
        lines[first - 1 : last] = [lines[first - 1][:column] + lines[last - 1][end:]]
    return "".join(lines)


class PublishedNgramPart(CodeBleuPart):
    """BLEU over words between spaces."""

    index, whole = 0, PublishedCodeBleu


class PublishedWeightedPart(CodeBleuPart):
    """Recall of n-grams, keywords weighing five times as much as other words."""

    index, whole = 1, PublishedCodeBleu


class PublishedSyntaxPart(CodeBleuPart):
    """The share of the reference's sub-trees that occur in the answer."""

    index, whole = 2, PublishedCodeBleu


class PublishedDataFlowPart(CodeBleuPart):
    """The share of the reference's data flow that the answer has; 0 where there is none."""

    index, whole = 3, PublishedCodeBleu
