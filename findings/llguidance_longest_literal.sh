#!/usr/bin/env bash
# A literal in one rule of a Lark grammar makes llguidance refuse texts of another rule.
#
# Versions:  llguidance 1.9.1, lark 1.3.1.
# Behaviour: each quoted string is a lexeme, and where two can begin the longest match is taken, whatever the rule needs
#            afterwards. With "sum:n " somewhere in the grammar, ("sum" | "max") ":n " never reads "sum:n ". Lark itself
#            reads it, with its Earley parser, and the grammar compiles without a warning. So a model can never write
#            such a text, and a reference that has it counts as impossible.
# Output:    "sum:n " as one literal: max:n x True, sum:n x False, sum:n y True; Lark True, True, True
#            "sum" ":n " as two: max:n x True, sum:n x True, sum:n y True; Lark True, True, True
# Advice:    cut literals at the same places in all rules, and check the grammar with the training data.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check llguidance==1.9.1 lark==1.3.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from lark import Lark
from lark.exceptions import LarkError
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper


class Bytes:
    """A tokenizer of single bytes and an end token."""

    eos_token_id, bos_token_id, special_token_ids = 256, None, [256]
    tokens = [*(bytes([byte]) for byte in range(256)), b"</s>"]

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())


tokenizer = LLTokenizer(TokenizerWrapper(Bytes()))
TEXTS = ("max:n x", "sum:n x", "sum:n y")


def accepts(grammar, text):
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def parses(grammar, text):
    try:
        Lark(grammar).parse(text)
    except LarkError:
        return False
    return True


found = {}
for title, second in (('"sum:n " as one literal', '"sum:n "'), ('"sum" ":n " as two', '"sum" ":n "')):
    grammar = f'start: ("sum" | "max") ":n " "x" | {second} "y"\n'
    ours, larks = ([reads(grammar, text) for text in TEXTS] for reads in (accepts, parses))
    shown = ", ".join(f"{text} {is_read}" for text, is_read in zip(TEXTS, ours))
    print(f"{title}: {shown}; Lark {', '.join(map(str, larks))}")
    found[second] = ours, larks
expected = {'"sum:n "': ([True, False, True], [True] * 3), '"sum" ":n "': ([True] * 3, [True] * 3)}
assert found == expected, f"changed: {found}"
PYTHON
