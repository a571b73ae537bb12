#!/usr/bin/env bash
# The ByteFallback decoder decodes a run of byte tokens as a whole or not at all.
#
# Versions:  tokenizers 0.23.3.
# Behaviour: if the last byte of a run of byte tokens is missing, every byte of the run becomes U+FFFD, the complete
#            characters before it as well. Python and SentencePiece replace the incomplete end only. A generated text
#            that ends at a token limit inside a Japanese comment loses the whole comment.
# Output:    whole: 日本語
#            last byte missing: ��������
#            as Python decodes it: 日本�
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from tokenizers import Tokenizer, decoders, models

vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
ids = tokenizer.encode("日本語").ids
print("whole:", tokenizer.decode(ids))
print("last byte missing:", tokenizer.decode(ids[:-1]))
print("as Python decodes it:", bytes(ids[:-1]).decode("utf-8", "replace"))
assert tokenizer.decode(ids) == "日本語"
assert tokenizer.decode(ids[:-1]) == "\ufffd" * 8, "changed: complete characters are kept"
PYTHON
