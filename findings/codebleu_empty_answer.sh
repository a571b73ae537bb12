#!/usr/bin/env bash
# CodeBLEU gives 25 of 100 points to an empty answer, and its weighted part never penalises short answers.
#
# Versions:  codebleu 0.7.0, tree-sitter 0.22.3, tree-sitter-python 0.21.0.
# Behaviour: The sum has "data flow or 1", meant for references without data flow: a true 0 counts as 1. An answer with a
#            quarter of the data flow can score below an empty one. The weighted part is a recall, and it takes the pair
#            [tokens, weights] for the reference, whose length is 2: from two tokens on, the brevity penalty is 1.
# Output:    empty answer: data flow 0.00, CodeBLEU 0.25
#            some right:   data flow 0.29, CodeBLEU 0.10
#            4 tokens of 12: n-grams 0.14, weighted n-grams 0.21, their recall 0.21
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check codebleu==0.7.0 tree-sitter==0.22.3 tree-sitter-python==0.21.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from codebleu import calc_codebleu

reference = "def f ( a , b ) :\n    c = a + b\n    return c * c"
empty, some = (calc_codebleu([reference], [answer], "python") for answer in ("", "def g(a, b):\n    print(a)"))
for name, scores in (("empty answer:", empty), ("some right:  ", some)):
    print(f"{name} data flow {scores['dataflow_match_score']:.2f}, CodeBLEU {scores['codebleu']:.2f}")
assert empty["dataflow_match_score"] == 0, "changed: an empty answer has data flow"
assert empty["codebleu"] == 0.25, "changed: a data flow of 0 counts as it is"
assert some["dataflow_match_score"] > 0 and some["codebleu"] < empty["codebleu"]

short = calc_codebleu(["a b c d e f g h i j k l"], ["a b c d"], "python")
plain, weighted = short["ngram_match_score"], short["weighted_ngram_match_score"]
recall = (4 / 12 * 3 / 11 * 2 / 10 * 1 / 9) ** 0.25
print(f"4 tokens of 12: n-grams {plain:.2f}, weighted n-grams {weighted:.2f}, their recall {recall:.2f}")
assert abs(weighted - recall) < 1e-9, "changed: short answers are penalised"
PYTHON
