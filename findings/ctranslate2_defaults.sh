#!/usr/bin/env bash
# translate_batch never gives an empty answer, and reads the first 1,024 source tokens only, unless told otherwise.
#
# Versions:  ctranslate2 4.8.5.
# Behaviour: min_decoding_length is 1 by default: the end token is forbidden in the first step, so a model whose best
#            answer is empty writes its second best token. max_input_length is 1024 by default: longer sources are cut
#            without a warning. 0 turns each of them off.
# Output:    best answer empty: [w2] by default, [] with min_decoding_length=0
#            1,024 tokens and 2,024 tokens: same score by default, another one with max_input_length=0
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ctranslate2==4.8.5 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import ctranslate2
import numpy as np
from ctranslate2.specs import TransformerSpec

random = np.random.default_rng(0)
words, width = ["<unk>", "<s>", "</s>", *(f"w{index}" for index in range(13))], 8


def linear(spec, outputs, inputs):
    spec.weight = random.normal(size=(outputs, inputs)).astype("float32") * 0.1
    spec.bias = np.zeros(outputs, "float32")


def norm(spec):
    spec.gamma, spec.beta = np.ones(width, "float32"), np.zeros(width, "float32")


def attention(spec, *outputs):
    norm(spec.layer_norm)
    for part, times in zip(spec.linear, outputs, strict=True):
        linear(part, times * width, width)


def feed_forward(spec):
    norm(spec.layer_norm)
    linear(spec.linear_0, 4 * width, width)
    linear(spec.linear_1, width, 4 * width)


spec = TransformerSpec.from_config(num_layers=(1, 1), num_heads=1, pre_norm=True)
for embedding in (spec.encoder.embeddings[0], spec.decoder.embeddings):
    embedding.weight = random.normal(size=(len(words), width)).astype("float32")
for side in (spec.encoder, spec.decoder):
    side.position_encodings.encodings = np.zeros((4096, width), "float32")
    norm(side.layer_norm)
    for layer in side.layer:
        attention(layer.self_attention, 3, 1)
        feed_forward(layer.ffn)
attention(spec.decoder.layer[0].attention, 1, 2, 1)
linear(spec.decoder.projection, len(words), width)
spec.decoder.projection.bias[words.index("</s>")] = 10  # its best answer is always empty
spec.register_source_vocabulary(words)
spec.register_target_vocabulary(words)
spec.validate()
spec.save(".")
translator = ctranslate2.Translator(".")


def answer(**options):
    return translator.translate_batch([["w1"]], beam_size=1, **options)[0].hypotheses[0]


print(f"best answer empty: {answer()} by default, {answer(min_decoding_length=0)} with min_decoding_length=0")
assert len(answer()) == 1, "changed: an empty answer is possible by default"
assert answer(min_decoding_length=0) == []


def score(source, **options):
    return translator.score_batch([source], [["w3"]], **options)[0].log_probs[0]


start, rest = ["w1"] * 1024, ["w5"] * 1000
assert score(start) == score(start + rest), "changed: long sources are read to their end by default"
assert score(start, max_input_length=0) != score(start + rest, max_input_length=0)
print("1,024 tokens and 2,024 tokens: same score by default, another one with max_input_length=0")
PYTHON
