#!/usr/bin/env bash
# The default tokenizer of sacreBLEU gives 100 to code that differs from its reference.
#
# Versions:  sacrebleu 2.6.0.
# Behaviour: 13a, made for news text, joins a hyphen at a line end with the next line, deletes <skipped>, and reads
#            &lt; as <. It does so in hypotheses and references, so these differences are invisible to BLEU. "none" with
#            tokens of one's own sees them.
# Output:    'total = a -\nb' for 'total = a b': 13a 100, none 43
#            "tag = '<skipped>'" for "tag = ''": 13a 100, none 55
#            "text = '&lt;'" for "text = '<'": 13a 100, none 55
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sacrebleu==2.6.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import logging

from sacrebleu.metrics.bleu import BLEU

logging.disable(logging.WARNING)
for answer, reference in (
    ("total = a -\nb", "total = a b"),
    ("tag = '<skipped>'", "tag = ''"),
    ("text = '&lt;'", "text = '<'"),
):
    scores = {
        tokenizer: BLEU(tokenize=tokenizer, effective_order=True, force=True).corpus_score([answer], [[reference]]).score
        for tokenizer in ("13a", "none")
    }
    print(f"{answer!r} for {reference!r}: 13a {scores['13a']:.0f}, none {scores['none']:.0f}")
    assert round(scores["13a"]) == 100, "changed: 13a sees the difference"
    assert scores["none"] < 90
PYTHON
