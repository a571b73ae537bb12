#!/usr/bin/env bash
# The score of CodeBLEU changes from one process to the next.
#
# Versions:  codebleu 0.7.0, tree-sitter 0.22.3, tree-sitter-java 0.21.0.
# Behaviour: Where a variable has several sources, data flow match keeps them in list(set(...)) of their names and numbers
#            variables in that order. Python salts the hashes of strings, so two processes number them differently. An
#            answer that only renames variables gets 1.0 in some processes and less in others. With the names of the
#            reference both sides have the same order, which hides it.
# Output:    PYTHONHASHSEED 0 to 7: 0.93 0.93 0.93 1.00 0.93 0.93 0.93 0.93
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check codebleu==0.7.0 tree-sitter==0.22.3 tree-sitter-java==0.21.0
cd "$work"
cat >score.py <<'PYTHON'
from codebleu import calc_codebleu

reference = (
    "int f(int a, int b) { int total = a * b; for (int i = 0; i < b; i++) { total = total + a * i; } return total; }"
)
answer = reference.replace("total", "sum").replace("int i", "int k").replace("i <", "k <").replace("i++", "k++")
answer = answer.replace("* i", "* k")
print(f"{calc_codebleu([reference], [answer], 'java')['dataflow_match_score']:.2f}")
PYTHON
scores=()
for seed in 0 1 2 3 4 5 6 7; do
  scores+=("$(PYTHONHASHSEED=$seed "$work/venv/bin/python" score.py)")
done
echo "PYTHONHASHSEED 0 to 7: ${scores[*]}"
different="$(printf '%s\n' "${scores[@]}" | sort -u | wc -l)"
[ "$different" -gt 1 ] || { echo "changed: all processes give the same score" >&2; exit 1; }
