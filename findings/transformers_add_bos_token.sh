#!/usr/bin/env bash
# add_bos_token=true in tokenizer_config.json no longer puts a bos before a text, where there is a tokenizer.json.
#
# Versions:  transformers 4.57.1 with tokenizers 0.22.1, transformers 5.24.0 with tokenizers 0.23.3.
# Behaviour: A directory whose tokenizer.json has no post-processor, and whose tokenizer_config.json says
#            add_bos_token=true. LlamaTokenizerFast of version 4 makes the post-processor from the flag when it loads.
#            Version 5 keeps that of tokenizer.json, here none: there is no bos, and the attribute add_bos_token says
#            False. A model that was saved with version 4 and relies on the flag then reads other ids. What counts in
#            version 5 is the post-processor of tokenizer.json alone.
# Output:    4.57.1: add_bos_token True, ids [2, 6, 4, 5]
#            5.24.0: add_bos_token False, ids [6, 4, 5]
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >ids.py <<'PYTHON'
import json
from pathlib import Path

import transformers
from tokenizers import Tokenizer, models, normalizers

pieces = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "a": 4, "b": 5, "\u2581": 6}
tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=[], unk_token="<unk>"))
tokenizer.normalizer = normalizers.Prepend("\u2581")
tokenizer.save("tokenizer.json")
names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
values = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, **names}
Path("tokenizer_config.json").write_text(json.dumps(values))
loaded = transformers.AutoTokenizer.from_pretrained(".")
print(f"{transformers.__version__}: add_bos_token {loaded.add_bos_token}, ids {loaded('ab')['input_ids']}")
PYTHON
"${PYTHON:-python3}" -m venv "$work/4"
"$work/4/bin/pip" install --quiet --disable-pip-version-check transformers==4.57.1 tokenizers==0.22.1
"${PYTHON:-python3}" -m venv "$work/5"
"$work/5/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0 tokenizers==0.23.3
for version in 4 5; do
  HF_HUB_OFFLINE=1 "$work/$version/bin/python" ids.py 2>/dev/null | tee -a found
done
grep -q '^4.57.1: add_bos_token True, ids \[2, ' found && grep -q '^5.24.0: add_bos_token False, ids \[6, ' found ||
  { echo "changed: the ids are others" >&2; exit 1; }
