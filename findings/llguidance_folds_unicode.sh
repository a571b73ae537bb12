#!/usr/bin/env bash
# A case-insensitive string of llguidance matches letters outside ASCII.
#
# Versions:  llguidance 1.9.1.
# Behaviour: "select"i is Rust's (?i:select), which folds by Unicode: the long s U+017F is an s, and the Kelvin sign
#            U+212A is a k. A grammar of a language whose keywords fold ASCII alone, such as SQL or HTML, lets a model
#            write keywords that no parser of the language knows.
# Output:    "select"i: SELECT True, ſELECT True
#            "like"i: LIKE True, LIKE with U+212A True
#            /(?i-u:select)/: SELECT True, ſELECT False
# Advice:    write keywords as /(?i-u:select)/.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check llguidance==1.9.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper


class Bytes:
    """A tokenizer of single bytes and an end token."""

    eos_token_id, bos_token_id, special_token_ids = 256, None, [256]
    tokens = [*(bytes([byte]) for byte in range(256)), b"</s>"]

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())


tokenizer = LLTokenizer(TokenizerWrapper(Bytes()))


def accepts(grammar, text):
    matcher = LLMatcher(tokenizer, f"start: {grammar}", log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


found = []
for grammar, plain, folded, name in (
    ('"select"i', "SELECT", "\u017fELECT", "\u017fELECT"),
    ('"like"i', "LIKE", "LI\u212aE", "LIKE with U+212A"),
    ("/(?i-u:select)/", "SELECT", "\u017fELECT", "\u017fELECT"),
):
    found.append((accepts(grammar, plain), accepts(grammar, folded)))
    print(f"{grammar}: {plain} {found[-1][0]}, {name} {found[-1][1]}")
assert found == [(True, True), (True, True), (True, False)], "changed: strings fold ASCII alone"
PYTHON
