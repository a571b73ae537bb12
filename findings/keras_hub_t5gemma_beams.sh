#!/usr/bin/env bash
# KerasHub's T5Gemma cannot be searched with beams, although its docstring does so and its BART can.
#
# Versions:  keras-hub 0.32.0, keras 3.15.1, jax 0.10.2, jaxlib 0.10.2, on a CPU.
# Behaviour: a BeamSampler repeats each row of the decoder's cache once for each beam. BartSeq2SeqLM keeps the source's
#            padding mask there. T5GemmaSeq2SeqLM does not, so the rows of its cross-attention are more than those of the
#            mask, and any number of beams above 1 fails: (rows x beams, ...) against (rows, ...). With one beam, and with
#            the greedy sampler, both answer.
# Output:    BART, greedy: answers
#            BART, 1 beam: answers
#            BART, 2 beams: answers
#            T5Gemma, greedy: answers
#            T5Gemma, 1 beam: answers
#            T5Gemma, 2 beams: TypeError, (4, 2, 1, 6) against (2, 1, 1, 6)
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet keras-hub==0.32.0 keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
cd "$work"
JAX_PLATFORMS=cpu KERAS_BACKEND=jax KERAS_HOME="$work/keras" "$work/venv/bin/python" - <<'PYTHON'
import re

import keras_hub
import numpy as np

ROWS, SOURCE, TARGET = 2, 6, 8
HALF = {"hidden_dim": 16, "intermediate_dim": 32, "num_layers": 1, "num_attention_heads": 2, "head_dim": 8}
HALF |= {"num_key_value_heads": 2, "layer_types": ["full_attention"]}
MODELS = {
    "BART": keras_hub.models.BartSeq2SeqLM(
        backbone=keras_hub.models.BartBackbone(
            vocabulary_size=64, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=16
        ),
        preprocessor=None,
    ),
    "T5Gemma": keras_hub.models.T5GemmaSeq2SeqLM(
        backbone=keras_hub.models.T5GemmaBackbone(
            vocabulary_size=64,
            dropout_rate=0.0,
            rms_norm_eps=1e-6,
            query_pre_attn_scalar=8.0,
            tie_word_embeddings=True,
            cross_attention_hidden_size=16,
            **{f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in HALF.items()},
        ),
        preprocessor=None,
    ),
}
SAMPLERS = {"greedy": "greedy"} | {
    f"{beams} beam{'s' * (beams > 1)}": keras_hub.samplers.BeamSampler(num_beams=beams) for beams in (1, 2)
}
first = np.zeros((ROWS, TARGET), np.int32)
first[:, 0] = 2
PROMPTS = {
    "encoder_token_ids": np.full((ROWS, SOURCE), 5, np.int32),
    "encoder_padding_mask": np.ones((ROWS, SOURCE), bool),
    "decoder_token_ids": first,
    "decoder_padding_mask": first > 0,
}
found = []
for model, language_model in MODELS.items():
    for name, sampler in SAMPLERS.items():
        language_model.compile(sampler=sampler)
        try:
            answers = language_model.generate(PROMPTS, stop_token_ids=None)["decoder_token_ids"]
            outcome = "answers" if np.asarray(answers).shape == (ROWS, TARGET) else "another shape"
        except TypeError as error:
            outcome = f"TypeError, {' against '.join(re.findall(r'[(][0-9, ]+[)]', str(error))[:2])}"
        print(f"{model}, {name}: {outcome}")
        found.append(outcome)
assert found == ["answers"] * 5 + ["TypeError, (4, 2, 1, 6) against (2, 1, 1, 6)"], f"changed: {found}"
PYTHON
