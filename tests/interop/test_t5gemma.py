"""T5Gemma and T5Gemma 2 against ``transformers`` on the same weights, in both directions.

Weights are drawn large enough for soft-caps to bite and for attention to be far from even; windows are shorter than
rows, heads are shared, their width is not the model's by their number, and patterns end within a period.
"""

import functools
import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from huggingface_models import gemma
from safetensors.numpy import load_file
from small_run import REPOSITORY, main, write_corpus
from stored_arrays import read_arrays
from tiny import assert_same

from t2c_jax.config import DataConfig, DecodeConfig, TrainConfig
from t2c_jax.decode.logits_processors import unwritable
from t2c_jax.decode.programs import search_function
from t2c_jax.errors import UserError
from t2c_jax.interop import t5gemma
from t2c_jax.interop.source_config import model_config
from t2c_jax.interop.tensor_table import write_params
from t2c_jax.interop.vocabulary_rows import with_pieces
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train.batch_loss import loss_sums

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# Ours and theirs are float32 sums in another order; the largest logits are some tens.
RELATIVE = 1e-4
VOCABULARY, BOS, EOS = 60, 2, 1
HALF = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "query_pre_attn_scalar": 12,
    "sliding_window": 4,
    "rms_norm_eps": 1e-5,
}
FIRST = {
    "soft-caps, shared heads, one width": ({}, {}),
    "halves of different width, one head of keys, untied": (
        {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "sliding_window": 2},
        {"num_hidden_layers": 4},
        {"tie_word_embeddings": False},
    ),
    "no soft-caps, full layers": (
        {"attn_logit_softcapping": None, "layer_types": ["full_attention"] * 3},
        {"attn_logit_softcapping": None, "final_logit_softcapping": None, "num_key_value_heads": 4},
    ),
}
ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 8.0},
}
SECOND = {
    "two thetas, scaled, a period and a rest": (
        {"rope_parameters": ROPE, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        {"rope_parameters": ROPE, "sliding_window": 3, "final_logit_softcapping": 9.0},
    ),
    "odd window, no shared heads": (
        {"sliding_window": 5, "num_key_value_heads": 4, "num_hidden_layers": 7},
        {"num_hidden_layers": 1, "num_key_value_heads": 1},
    ),
}
VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 4,
    "patch_size": 2,
}


def their_model(kind, encoder, decoder, whole=None):
    """One of theirs, its weights drawn large."""
    encoder, decoder = {**HALF, **encoder}, {**HALF, **decoder}
    values = {"vocab_size": VOCABULARY, "attn_implementation": "eager", **(whole or {})}
    if kind == "t5gemma":
        caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 6.0}
        config = transformers.T5GemmaConfig(encoder={**caps, **encoder}, decoder={**caps, **decoder}, **values)
        made = transformers.T5GemmaForConditionalGeneration(config)
    else:
        reader = {"text_config": encoder, "vision_config": VISION, "mm_tokens_per_image": 4, "eoi_token_index": 7}
        config = transformers.T5Gemma2Config(encoder=reader, decoder=decoder, **values)
        made = transformers.T5Gemma2ForConditionalGeneration(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            scale = 0.3 if tensor.ndim == 1 else 1.5 * tensor.shape[-1] ** -0.5
            tensor.copy_(torch.randn(tensor.shape) * (0.25 if "embed_tokens.weight" in name else scale))
    return made.eval()


@functools.cache
def both(kind, case):
    values = dict(FIRST if kind == "t5gemma" else SECOND)[case]
    theirs = their_model(kind, *values)
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    config = model_config(t5gemma, theirs.config.to_dict(), tensors)
    return theirs, config, *read_arrays(t5gemma, config, tensors)


IDS = [(kind, case) for kind, cases in (("t5gemma", FIRST), ("t5gemma2", SECOND)) for case in cases]
each = pytest.mark.parametrize(("kind", "case"), IDS, ids=[f"{kind}, {case}" for kind, case in IDS])
ROWS, SOURCE, TARGET = 3, 13, 11


def rows(seed=0):
    """Sources and targets of different lengths, padded on the right; token 7 is the end of an image."""
    draw = np.random.default_rng(seed)
    batch = {}
    for side, length, lengths in (("encoder", SOURCE, (13, 9, 5)), ("decoder", TARGET, (11, 6, 9))):
        there = np.arange(length) < np.array(lengths)[:, None]
        batch[f"{side}_input_tokens"] = (draw.integers(3, 12, there.shape) * there).astype(np.int32)
        batch[f"{side}_segment_ids"] = there.astype(np.int32)
        batch[f"{side}_positions"] = np.broadcast_to(np.arange(length, dtype=np.int32), there.shape)
    batch["decoder_input_tokens"][:, 0] = BOS
    return batch


def their_logits(theirs, batch):
    read = {
        name: torch.from_numpy(batch[key]).long()
        for name, key in (
            ("input_ids", "encoder_input_tokens"),
            ("attention_mask", "encoder_segment_ids"),
            ("decoder_input_ids", "decoder_input_tokens"),
            ("decoder_attention_mask", "decoder_segment_ids"),
        )
    }
    with torch.no_grad():
        return theirs(**read).logits.numpy()


@functools.cache
def logits_of(config):
    definition = Definition(config, VOCABULARY)

    def logits(params, batch):
        bound = definition.bind(params)
        return bound.logits(bound.predict(batch).states_BTD)

    return jax.jit(logits)


@each
def test_logits_with_padding(kind, case):
    theirs, config, params, left = both(kind, case)
    assert all("vision_tower" in name or "multi_modal" in name for name in left)
    batch = rows()
    found, expected = np.asarray(logits_of(config)(params, batch)), their_logits(theirs, batch)
    there = batch["decoder_segment_ids"] > 0
    assert np.abs(expected[there]).max() > 3
    np.testing.assert_allclose(found[there], expected[there], rtol=0, atol=RELATIVE * np.abs(expected[there]).max())


# One of each family, for what costs a program each.
one_of_each = pytest.mark.parametrize(("kind", "case"), [IDS[1], IDS[3]], ids=["t5gemma", "t5gemma2"])


@one_of_each
def test_packed_rows_are_their_single_ones(kind, case):
    """transformers cannot pack: the pairs of three of its rows in one of ours."""
    theirs, config, params, _ = both(kind, case)
    batch = rows()
    packed = {}
    for side in ("encoder", "decoder"):
        there = batch[f"{side}_segment_ids"] > 0
        number = np.broadcast_to(1 + np.arange(ROWS)[:, None], there.shape)
        for name, values in (
            ("input_tokens", batch[f"{side}_input_tokens"]),
            ("segment_ids", number),
            ("positions", batch[f"{side}_positions"]),
        ):
            packed[f"{side}_{name}"] = np.pad(values[there], (0, 2)).astype(np.int32)[None]
    there = batch["decoder_segment_ids"] > 0
    expected = their_logits(theirs, batch)[there]
    found = np.asarray(logits_of(config)(params, packed))[0, : len(expected)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


@one_of_each
def test_greedy_and_beam_search_find_their_tokens(kind, case):
    """Cached steps of both, token for token."""
    theirs, config, params, _ = both(kind, case)
    batch, definition, steps = rows(1), Definition(config, VOCABULARY), 16
    read = {name: values for name, values in batch.items() if name.startswith("encoder")}
    ids = {"input_ids": "encoder_input_tokens", "attention_mask": "encoder_segment_ids"}
    given = {name: torch.from_numpy(batch[key]).long() for name, key in ids.items()}

    def generated(eos, **settings):
        search = transformers.GenerationConfig(
            max_new_tokens=steps, do_sample=False, pad_token_id=0, eos_token_id=eos, decoder_start_token_id=BOS
        )
        with torch.no_grad():
            found = theirs.generate(**given, generation_config=search, **settings).numpy()[:, 1:]
        found = np.pad(found, ((0, 0), (0, steps - found.shape[1])))
        after = np.cumsum(found == eos, axis=1) - (found == eos) > 0
        return np.where(after, 0, found)

    def searched(eos, beams, penalty):
        decode = DecodeConfig(beam_size=beams, max_tokens=steps, length_penalty=penalty)
        return jax.jit(lambda params, read: search_function([definition], decode, start=BOS, eos=eos)([params], read))(
            params, read
        )

    # What it says anyway, so that sequences do end.
    eos = int(np.bincount(generated(VOCABULARY, num_beams=3, num_return_sequences=3).ravel()).argmax())
    np.testing.assert_array_equal(searched(eos, 1, 0.0).tokens[:, 0], generated(eos))
    compared = 0
    for penalty in (0.0, 1.0):
        best = {"num_beams": 3, "num_return_sequences": 3, "length_penalty": penalty, "early_stopping": "never"}
        found, beams = generated(eos, **best).reshape(ROWS, 3, steps), searched(eos, 3, penalty)
        for row, (tokens, finished) in enumerate(zip(beams.tokens, beams.finished, strict=True)):
            # One cut short counts as ended to them, and may displace an ended one; what is left keeps its order.
            ended = found[row][(found[row] == eos).any(axis=1)]
            np.testing.assert_array_equal(np.asarray(tokens)[np.asarray(finished)][: len(ended)], ended)
            compared += len(ended)
    assert compared >= 3, "too few sequences ended to tell"


@one_of_each
def test_ten_steps_of_training_are_theirs(kind, case):
    """The gradients of the first step, and the losses of ten steps of Adam."""
    _, config, params, _ = both(kind, case)
    values = dict(FIRST if kind == "t5gemma" else SECOND)[case]
    theirs, batch = their_model(kind, *values), rows(2)  # one of its own, which is trained
    there = batch["decoder_segment_ids"] > 0
    targets = np.where(there, np.roll(batch["decoder_input_tokens"], -1, axis=1), 0)
    labels = torch.from_numpy(np.where(there, targets, -100)).long()
    names = {"input_ids": "encoder_input_tokens", "attention_mask": "encoder_segment_ids"}
    names |= {"decoder_input_ids": "decoder_input_tokens", "decoder_attention_mask": "decoder_segment_ids"}
    given = {name: torch.from_numpy(batch[key]).long() for name, key in names.items()}
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    expected, first = [], {}
    for _ in range(10):
        optimizer.zero_grad()
        logits = theirs(**given).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), labels.reshape(-1))
        loss.backward()
        first = first or {
            name: tensor.grad.numpy().copy() for name, tensor in theirs.named_parameters() if tensor.grad is not None
        }
        optimizer.step()
        expected.append(loss.item())

    definition, adam = Definition(config, VOCABULARY), optax.adam(1e-2)
    full = {**batch, "decoder_target_tokens": targets, "decoder_loss_weights": there.astype(np.float32)}
    train = TrainConfig(loss_chunk_tokens=16, z_loss=0.0)

    @jax.jit
    def step(params, state):
        def loss(params):
            sums = loss_sums(definition.bind, params, full, None, train, DataConfig(), training=True)[1]
            return sums["loss"] / sums["weight"]

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(params, updates), state, value, gradient

    params = jax.tree.map(jnp.asarray, params)
    state, found, gradient = adam.init(params), [], None
    for _ in range(10):
        params, state, value, of_step = step(params, state)
        gradient = of_step if gradient is None else gradient
        found.append(float(value))
    table = [tensor._replace(offset=0.0) for tensor in t5gemma.tensors(config)]
    for name, ours in write_params(table, jax.device_get(gradient)).items():
        np.testing.assert_allclose(ours, first[name], rtol=0, atol=1e-4 * np.abs(first[name]).max() + 1e-7)
    assert expected[-1] < expected[0] - 0.5
    # Adam divides by the root of tiny second moments in the first steps, and so blows up what rounds otherwise (1e-6).
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@each
def test_configs_and_tensors_come_back(kind, case):
    theirs, config, params, _ = both(kind, case)
    written = t5gemma.config_to_huggingface(config, VOCABULARY)
    assert model_config(t5gemma, written) == config
    tensors = t5gemma.params_to_huggingface(config, params)
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    for name, tensor in tensors.items():
        # A norm's scale is theirs plus one, rounded: half a unit in the last place of 2.
        np.testing.assert_allclose(tensor, state[name], rtol=0, atol=1.2e-7 if "norm" in name else 0, err_msg=name)


def test_published_names_and_keys_are_read_as_todays():
    """T5Gemma 2's files on the hub: no ``text_model`` in names, a pattern as a number, thetas at the top."""
    _, config, params, _ = both("t5gemma2", IDS[3][1])
    tensors = t5gemma.params_to_huggingface(config, params)
    old = {name.replace("text_model.", "").removeprefix("model."): tensor for name, tensor in tensors.items()}
    old["lm_head.out_proj.weight"] = old["encoder.embed_tokens.weight"]
    old["encoder.vision_tower.vision_model.head.bias"] = np.zeros(3)
    found, left = read_arrays(t5gemma, config, old)
    assert_same(found, params)
    assert left == {"encoder.vision_tower.vision_model.head.bias"}
    assert re.search(t5gemma.IGNORED, *left)

    values = t5gemma.config_to_huggingface(config, VOCABULARY)
    for half in (values["encoder"]["text_config"], values["decoder"]):
        rope = half.pop("rope_parameters")
        half |= {"rope_theta": rope["full_attention"]["rope_theta"], "rope_local_base_freq": 100.0}
        half["rope_scaling"] = {"rope_type": "linear", "factor": 8.0}
        del half["layer_types"]
        half["sliding_window_pattern"] = 2
    read = model_config(t5gemma, values)
    assert read.encoder == replace(config.encoder, layer_kinds=("local", "full"))
    assert read.decoder == replace(config.decoder, layer_kinds=("local", "full"))


@one_of_each
def test_copies_that_are_none_are_refused(kind, case):
    """An output table where config.json ties it, and in T5Gemma 2 what the decoder reads with."""
    _, config, params, _ = both(kind, case)
    config = replace(config, tied_embeddings=True)
    params = {name: value for name, value in params.items() if name != "output"}
    tensors = t5gemma.params_to_huggingface(config, params)
    words = f"model.{'encoder.text_model' if kind == 't5gemma2' else 'decoder'}.embed_tokens"
    copies = {"lm_head.out_proj.weight": f"{words}.weight"}
    if kind == "t5gemma2":
        copies |= {f"model.decoder.embed_tokens.{end}": f"{words}.{end}" for end in ("weight", "eoi_embedding")}
    tensors |= {name: tensors[original] for name, original in copies.items()}
    assert not read_arrays(t5gemma, config, tensors)[1]
    for name, original in copies.items():
        with pytest.raises(UserError, match=re.escape(f"tensor '{name}' differs from '{original}', and by")):
            read_arrays(t5gemma, config, {**tensors, name: tensors[original] + 1})
    missing = {name: tensor for name, tensor in tensors.items() if name != f"{words}.weight"}
    with pytest.raises(UserError, match="is it a T5Gemma with a decoder"):
        read_arrays(t5gemma, config, {name: tensor for name, tensor in missing.items() if "decoder" not in name})


@pytest.mark.parametrize("kind", ["t5gemma", "t5gemma2"])
def test_a_directory_of_theirs_becomes_a_run_and_that_a_directory(kind, tmp_path, capsys):
    """Imported from files, it answers as theirs does; exported again, transformers loads it and answers equally."""
    gemma(tmp_path)
    pieces = len(json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"])
    rows = {"vocab_size": pieces}
    theirs = their_model(kind, {**SECOND[IDS[3][1]][0], **rows} if kind == "t5gemma2" else rows, rows, rows)
    theirs.generation_config.decoder_start_token_id = BOS
    theirs.save_pretrained(tmp_path)
    assert main("import", "--from", tmp_path, "--workdir", tmp_path / "run", "--json") == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["whole_model"]
    assert counts["specials"] | {"unk": 0} == {"eos": 1, "start": 2, "pad": 0, "unk": 0, "before": [2], "after": []}

    text = "Return the first value of the list"
    options = ["--config.decode.beam_size=1", "--config.decode.max_tokens=8", "--json", text]
    assert main("generate", "--workdir", tmp_path / "run", *options) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    tokenizer = Tokenizers.load(tmp_path / "run" / "tokenizer").source
    ids = torch.tensor([[BOS, *tokenizer.encode_batch([text])[0].tolist()]])
    found = theirs.generate(ids, max_new_tokens=8, do_sample=False, suppress_tokens=unwritable(tokenizer))[0]
    assert answer["code"] == tokenizer.decode(found[1:].tolist())

    arguments = ["--workdir", tmp_path / "run", "--output", tmp_path / "out"]
    assert main("export", *arguments, "--to", "huggingface", "--json") == 0
    parity = json.loads(capsys.readouterr().out)["parity"]
    assert parity["by"] == "transformers"
    assert parity["greedy_identical"] == parity["prompts"] == 4
    assert parity["largest_log_prob_difference"] < 1e-4
    again = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in theirs.state_dict().items():
        if name in again and name.endswith("proj.weight"):
            np.testing.assert_array_equal(again[name], tensor.numpy(), err_msg=name)

    assert main("export", *arguments, "--to", "ctranslate2") == 2
    assert "is not exported to CTranslate2: it" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "neighbours"), [("t5gemma", 1), ("t5gemma2", 0)])
def test_an_imported_run_goes_through_the_chain(kind, neighbours, tmp_path, capsys):
    """Fine-tuned by LoRA on packed pairs and kept to a grammar; with neighbours, or merged, exported."""
    gemma(tmp_path)
    rows = {"vocab_size": len(json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"])}
    their_model(kind, rows, rows, rows).save_pretrained(tmp_path)
    assert main("import", "--from", tmp_path, "--workdir", tmp_path / "imported") == 0
    assert ("model.encoder.vision_tower (" in capsys.readouterr().err) == (kind == "t5gemma2")
    write_corpus(tmp_path / "pairs.jsonl")
    settings = {
        "origin.run": tmp_path / "imported",
        "corpus.sources": tmp_path / "pairs.jsonl",
        "model.copy": False,
        "data.retrieve.neighbours": neighbours,
        "data.retrieve.tokens": 64,
        "data.encoder_length": 320,
        "data.batch_size": 8,
        "lora.rank": 2,
        "optimizer.warmup_steps": 1,
        "train.steps": 3,
        "train.eval_batches": 1,
        "train.samples": 0,
        "decode.max_tokens": 64,
        "decode.no_repeat_ngram_size": 0,
        "evaluate.max_examples": 4,
    }
    config, tuned = REPOSITORY / "configs" / "finetune.py", tmp_path / "tuned"
    changes = [f"--config.{name}={value}" for name, value in settings.items()]
    assert main("run", "--config", config, "--workdir", tuned, *changes) == 0
    capsys.readouterr()

    grammar = "--config.decode.grammar=regex:def [a-z]{1,8}\\(\\):\n    pass\n"
    assert main("generate", "--workdir", tuned, grammar, "--json", "Return the first value of the list") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert re.fullmatch(r"def [a-z]{1,8}\(\):\n    pass\n", answer["code"])
    assert len(answer.get("neighbours", ())) == neighbours

    arguments = ["--workdir", tuned, "--output", tmp_path / "out", "--to", "huggingface", "--json"]
    if neighbours:
        assert main("export", *arguments) == 2
        assert "neighbours=1 cannot be exported" in capsys.readouterr().err
        return
    assert main("export", *arguments) == 0
    parity = json.loads(capsys.readouterr().out)["parity"]
    assert parity["greedy_identical"] == parity["prompts"]
    base, merged = (load_file(path / "model.safetensors") for path in (tmp_path, tmp_path / "out"))
    name = next(name for name in base if name.endswith("decoder.layers.0.self_attn.q_proj.weight"))
    change = np.linalg.svd(merged[name] - base[name], compute_uv=False)
    assert change[1] > 1e-3 * change[0] > 0  # of the adapters' rank, and no more
    assert change[2] < 1e-5 * change[0]


def test_a_trimmed_vocabulary_renumbers_the_unscaled_token():
    _, config, _, _ = both("t5gemma2", IDS[3][1])
    assert config.unscaled_id == 7
    assert with_pieces(config, [0, 1, 2, 7, 9]).unscaled_id == 3
    assert with_pieces(replace(config, unscaled_id=-1), [0, 1]).unscaled_id == -1


def test_a_model_without_an_unscaled_token_goes_out_and_comes_back():
    """Its id is then beyond the table, where no token is; a vector that was learned for one there is refused."""
    _, config, params, _ = both("t5gemma2", IDS[3][1])
    config = replace(config, unscaled_id=-1)
    table = {"embedding": params["embedding"]["embedding"]}
    tensors = t5gemma.params_to_huggingface(config, {**params, "embedding": table})
    values = t5gemma.config_to_huggingface(config, VOCABULARY)
    assert values["eoi_token_index"] == values["encoder"]["eoi_token_index"] == VOCABULARY
    assert model_config(t5gemma, values) == config
    found, left = read_arrays(t5gemma, config, tensors)
    assert not left
    assert_same(found["embedding"], table)
    for half in ("encoder.text_model", "decoder"):
        name = f"model.{half}.embed_tokens.eoi_embedding"
        with pytest.raises(UserError, match=f"^tensor '{re.escape(name)}' is not zero"):
            read_arrays(t5gemma, config, {**tensors, name: np.ones(24, np.float32)})

    theirs = their_model("t5gemma2", *SECOND[IDS[3][1]])
    words = theirs.model.encoder.text_model.embed_tokens
    words.eoi_token_index = theirs.model.decoder.embed_tokens.eoi_token_index = VOCABULARY
    batch, there = rows(), rows()["decoder_segment_ids"] > 0
    logits, expected = np.asarray(logits_of(config)(found, batch))[there], their_logits(theirs, batch)[there]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_bias": True}, r"decoder\.attention_bias=True is not supported"),
        ({"hidden_activation": "relu"}, r"decoder\.hidden_activation='relu' is not supported; gelu_pytorch_tanh"),
        ({"layer_types": ["full_attention"]}, "layer_types=.* must name one of sliding_attention, full_attention"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, r"rope_type='yarn' is not supported"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r"not understood.*rope_scaling\.type='linear'"),
        ({"hidden_size": 32}, "T5Gemma 2's halves are equally wide, and not 24 and 32"),
        ({"vocab_size": 61}, "vocab_size=60 of the encoder and 61 of the decoder must be equal"),
        ({"partial_rotary_factor": 0.5}, r"not understood.*decoder\.partial_rotary_factor=0\.5"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar=0 must be a number above 0"),
    ],
)
def test_what_is_not_known_is_refused_by_its_key(change, message):
    _, config, _, _ = both("t5gemma2", IDS[3][1])
    values = t5gemma.config_to_huggingface(config, VOCABULARY)
    values["decoder"] |= change
    with pytest.raises(UserError, match=message):
        model_config(t5gemma, values)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        (
            "t5gemma",
            {"copy": True},
            "config.model.copy=True is not in T5Gemma's format; train with config.model.copy=False",
        ),
        ("t5gemma2", {"scale_embeddings": False}, "train with config.model.scale_embeddings=True"),
        ("t5gemma2", {"encoder": {"window_after": 9}}, "train with config.model.encoder.window_after=1"),
        ("t5gemma", {"encoder": {"rope_scaling": 2.0}}, "train with config.model.encoder.rope_scaling=1.0"),
        ("t5gemma2", {"decoder": {"attention_softcap": 5.0}}, "train with config.model.decoder.attention_softcap=0.0"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_with_the_setting(kind, change, reason):
    _, config, _, _ = both(kind, IDS[0 if kind == "t5gemma" else 3][1])
    sides = {side: values for side, values in change.items() if isinstance(values, dict)}
    sides = {side: replace(getattr(config, side), **values) for side, values in sides.items()}
    assert t5gemma.why_not(config) is None
    found = t5gemma.why_not(replace(config, **{**change, **sides}))
    assert found is not None
    assert found.endswith(reason)
