#!/usr/bin/env bash
# CTranslate2 does not convert a BART whose config transformers 5 wrote.
#
# Versions:  ctranslate2 4.8.5, transformers 5.24.0, torch 2.13.0, tokenizers of transformers.
# Behaviour: the converter reads normalize_before, a key of the first configs on the Hub. transformers neither has it
#            nor writes it, so a BART that was made with it is refused with an AttributeError. With the key in
#            config.json the same directory is converted: false is what every BART does.
# Output:    as saved: AttributeError: 'BartConfig' object has no attribute 'normalize_before'
#            with "normalize_before": false: converted
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ctranslate2==4.8.5 transformers==5.24.0 torch==2.13.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import json
import pathlib

from ctranslate2.converters import TransformersConverter
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast
from transformers import logging as messages

messages.set_verbosity_error()
specials = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
tokenizer.train_from_iterator(["list all files"], trainers.BpeTrainer(special_tokens=list(specials.values())))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials)
sizes = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in
         {"layers": 1, "attention_heads": 2, "ffn_dim": 16}.items()}
model = BartForConditionalGeneration(BartConfig(vocab_size=len(tokenizer), d_model=8, **sizes))
model.save_pretrained("bart")
tokenizer.save_pretrained("bart")


def converted(output):
    try:
        TransformersConverter("bart").convert(output)
    except AttributeError as error:
        return f"AttributeError: {error}"
    return "converted"


before = converted("as_saved")
print(f"as saved: {before}")
path = pathlib.Path("bart/config.json")
path.write_text(json.dumps(json.loads(path.read_text()) | {"normalize_before": False}))
after = converted("with_key")
print(f'with "normalize_before": false: {after}')
assert "normalize_before" in before, "changed: the key is not needed any more"
assert after == "converted", "changed: the key alone does not help"
PYTHON
