"""``t2c export``: directories that other libraries load, the proof that they are the model, and what is refused."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from huggingface_models import TEXTS, plbart_tokenizer, write
from safetensors.numpy import load_file
from small_run import main, prepared  # noqa: F401
from tiny import both, decoder, encoder
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from t2c_jax import config as configs
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.interop import export_huggingface, t5
from t2c_jax.interop.tokenizer_json import STRINGS
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.layout_words import to_words
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.sentencepiece import EOS
from t2c_jax.workdir import Workdir, write_json

STEP = 7


def t5_sides(encoder=(), **fields):
    """A tiny T5; ``encoder`` holds values of its encoder alone."""
    return {"encoder": tiny.encoder("t5", **{**fields, **dict(encoder)}), "decoder": tiny.decoder("t5", **fields)}


BART = {**tiny.both("bart", positions=512), "scale_tied_output": False, "scale_embeddings": True}


def checkpoint(workdir: Path, step: int = STEP, change=lambda params: None, **model):
    """Gives a prepared workdir a checkpoint with random parameters, of a model with some values changed."""
    run = Workdir(workdir)
    experiment = configs.load(str(run.config), [])
    decode = replace(experiment.decode, no_repeat_ngram_size=9)
    experiment = replace(experiment, model=replace(experiment.model, **model), decode=decode)
    write_json(run.config, configs.to_dict(experiment))
    tokenizers = Tokenizers.load(run.tokenizer)
    params = Definition(experiment.model, tokenizers.target.vocab_size).init(jax.random.key(0))
    # As drawn, all norms are 1, and it would not show which is whose.
    draw = np.random.default_rng(step)
    params = jax.tree.map(lambda leaf: np.asarray(leaf) * draw.uniform(0.7, 1.4, leaf.shape).astype("f"), params)
    change(params)
    checkpoints = Checkpoints(run.checkpoints, metadata(experiment.model, tokenizers.digest), keep=2)
    checkpoints.save(step, {"step": np.zeros((), np.int32), "params": params}, None)
    checkpoints.close()
    return experiment, tokenizers.target


@pytest.fixture
def run(prepared):  # noqa: F811
    return prepared[1]


def exported(capsys, workdir, output, *arguments):
    capsys.readouterr()
    assert main("export", "--workdir", workdir, "--output", output, "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, workdir, output, *arguments):
    capsys.readouterr()
    assert main("export", "--workdir", workdir, "--output", output, *arguments) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_hugging_face_loads_it_and_answers_the_same(run, tmp_path, capsys):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    experiment, tokenizer = checkpoint(run, **t5_sides(encoder={"layers": 2}))
    result = exported(capsys, run, tmp_path / "out", "--to", "huggingface")
    found = result["parity"]
    assert found["by"] == "transformers"
    assert found["largest_log_prob_difference"] < 1e-5  # two shallow float32 programs
    assert found["greedy_identical"] == found["prompts"] == 8
    assert result["step"] == STEP
    assert result["tokenizer"] == {"texts": len(STRINGS) + 2 * 12, "different": 0}
    assert set(result["files"]) == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "spm.model",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    model = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "def f(x)\n    \tReturn </s> of \u2581 <pad> the \U0001f642."
    ids = tokenizer.encode_batch([text])[0].tolist()
    assert theirs(text).input_ids == [*ids, tokenizer.eos]
    assert theirs.decode([*ids, tokenizer.eos], skip_special_tokens=True) == text
    assert (theirs.pad_token_id, theirs.eos_token_id, theirs.unk_token_id) == (0, 1, 2)
    settings = model.generation_config
    assert (settings.num_beams, settings.length_penalty, settings.early_stopping) == (2, 1.0, "never")
    assert settings.max_new_tokens == experiment.decode.max_tokens
    assert settings.suppress_tokens == [0, *tokenizer.sentinels]
    assert settings.no_repeat_ngram_size == experiment.decode.no_repeat_ngram_size > 0
    batch = theirs([text, "Return."], return_tensors="pt", padding=True)
    with torch.no_grad():
        assert model.generate(**batch).shape[0] == 2


def test_transformers_loads_a_bart_and_it_comes_back(run, tmp_path, capsys):
    checkpoint(run, **{**BART, "decoder": tiny.decoder("bart", positions=512, layers=3, feed_forward=40)})
    result = exported(capsys, run, tmp_path / "out", "--to", "huggingface")
    assert result["parity"]["by"] == "transformers"
    assert result["parity"]["largest_log_prob_difference"] < 1e-5  # two shallow float32 programs
    assert result["parity"]["greedy_identical"] == result["parity"]["prompts"] == 8
    assert main("import", "--from", tmp_path / "out", "--workdir", tmp_path / "back", "--json") == 0
    assert json.loads(capsys.readouterr().out)["whole_model"]
    again = exported(capsys, tmp_path / "back", tmp_path / "again", "--to", "huggingface")
    assert again["parity"]["greedy_identical"] == again["parity"]["prompts"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "again"))
    tiny.assert_same(second, first)


def test_without_transformers_the_weights_are_read_back(run, tmp_path, capsys, monkeypatch):
    checkpoint(run, **t5_sides(activation="relu"), tied_embeddings=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = exported(capsys, run, tmp_path / "out", "--to", "huggingface")
    assert result["parity"]["by"] == "reading the weights back"
    assert result["parity"]["greedy_identical"] == result["parity"]["prompts"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "by reading the weights back" in card


def test_the_model_card_and_the_prefix_of_the_tokenizer(run, tmp_path, capsys):
    _, tokenizer = checkpoint(run, **t5_sides())
    exported(capsys, run, tmp_path / "out", "--to", "huggingface", "--config.data.prefix=Write: ")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| corpus.jsonl |" in card, "where it lay is nobody's business"
    assert "96 train, 12 dev, 12 test" in card
    assert "None were measured." in card
    assert "the prefix 'Write: '" in card
    prefix, text = (ids.tolist() for ids in tokenizer.encode_batch(["Write: ", "the sum"]))
    theirs = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert theirs.encode("the sum").ids == [*prefix, *text, tokenizer.eos]


def test_the_mean_of_the_latest_checkpoints_goes_out_as_one_model(run, tmp_path, capsys):
    for step in (STEP, STEP + 1):
        checkpoint(run, step, **t5_sides())
    exported(capsys, run, tmp_path / "first", "--to", "huggingface", "--step", str(STEP))
    exported(capsys, run, tmp_path / "second", "--to", "huggingface")
    result = exported(capsys, run, tmp_path / "mean", "--to", "huggingface", "--average", "2")
    assert (result["step"], result["average"]) == (STEP + 1, 2)
    first, second, mean = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second", "mean"))
    assert any(not np.array_equal(first[name], second[name]) for name in first)
    for name, values in mean.items():
        # Scales are multiplied into kernels on the way out: after the mean or before it, which a rounding tells.
        np.testing.assert_allclose(values, (first[name] + second[name]) / 2, rtol=1e-6, err_msg=name)
    card = (tmp_path / "mean" / "README.md").read_text()
    assert f"checkpoint {STEP + 1}, the mean of its latest 2 checkpoints up to it, of its run" in card


def test_the_card_has_the_scores_of_its_checkpoint(run, tmp_path, capsys):
    """Each evaluation says its split, size and search; ensembles and other checkpoints have no place."""
    checkpoint(run, **t5_sides())
    score = {"value": 12.34, "standard_error": 0.56}
    by_metric = {"bleu": score, "chrf": {"value": None, "standard_error": None}}
    verdicts = {"bleu": "better", "chrf": "not applicable"}
    own = json.loads((run / "config.json").read_text())["decode"]
    scores = {
        "model": by_metric,
        "retrieval": by_metric,
        "verdict": verdicts,
        "examples": 12,
        "summary": "It is fair.",
        "split": "test",
        "size": "all",
        "decode": {**own, "batch_size": 99},
        "members": [str(STEP)],
    }
    dev = {**scores, "split": "dev", "size": 5, "examples": 5, "decode": {**own, "beam_size": 1, "max_tokens": 7}}
    others = {**scores, "members": [str(STEP), "@3"], "summary": "Not this."}
    for name, content in (("b", scores), ("a", dev), ("c", others), ("d", {**scores, "members": ["3"]})):
        (run / "evaluations" / name).mkdir(parents=True)
        write_json(run / "evaluations" / name / "scores.json", content)
        write_json(run / "evaluations" / name / "manifest.json", {})
    exported(capsys, run, tmp_path / "out", "--to", "huggingface")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "12.3 ± 0.6 | 12.3 ± 0.6 | better" in card
    assert card.count("It is fair.") == 2
    assert "Not this." not in card
    test, dev = (card.index(f"On {count} {split} pairs") for count, split in ((12, "test"), (5, "dev")))
    assert test < dev
    search = "(2 beams, ranked by log p / length**1, at most 16 tokens, no 9 tokens in a row twice)"
    assert f"On 12 test pairs, all test split's, by the run's own search {search}:" in card
    assert (
        "On 5 dev pairs, a selection by id of the dev split's, by another search than the run's own (greedy, " in card
    )
    assert "chose its best checkpoint by the loss on dev pairs, so scores on dev pairs are higher" in card


def code_t5(directory):
    """A checkpoint like CodeT5's: byte-level pieces, <s> and </s> around a text, a table of more rows than pieces."""
    transformers = pytest.importorskip("transformers")
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    specials = ["<pad>", "<s>", "</s>", "<unk>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=specials, initial_alphabet=letters, show_progress=False
    )
    trainer.show_progress = False
    pieces.train_from_iterator(["def add(a, b):\n    return a + b\n"] * 9, trainer)
    pieces.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), True, False)
    directory.mkdir()
    pieces.save(str(directory / "tokenizer.json"))
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer", **roles}))
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    ids = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    config = transformers.T5Config(vocab_size=320, **shape, **ids)
    transformers.T5ForConditionalGeneration(config).save_pretrained(directory)
    return pieces


@pytest.mark.parametrize("to", ["huggingface", "ctranslate2"])
def test_an_imported_model_goes_out_as_it_came(to, tmp_path, capsys):
    pytest.importorskip(to.replace("huggingface", "transformers"))
    pieces = code_t5(tmp_path / "in")
    assert main("import", "--from", tmp_path / "in", "--workdir", tmp_path / "run") == 0
    result = exported(capsys, tmp_path / "run", tmp_path / "out", "--to", to)
    assert result["parity"]["texts"] == "built-in prompts"
    assert result["parity"]["greedy_identical"] == result["parity"]["prompts"] == 4
    assert result["tokenizer"]["different"] == 0
    theirs = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert theirs.to_str() == pieces.to_str()
    assert "holds no corpus" in (tmp_path / "out" / "README.md").read_text()
    if to == "huggingface":
        came, went = (load_file(tmp_path / name / "model.safetensors") for name in ("in", "out"))
        assert came.keys() == went.keys()
        for name, value in came.items():
            np.testing.assert_array_equal(went[name], value, err_msg=name)


@pytest.mark.parametrize(("direction", "codes"), [("text_to_code", "base"), ("code_to_text", "multi")])
def test_an_imported_plbart_goes_out_as_one(direction, codes, tmp_path, capsys):
    """transformers loads its class with its tokenizer, which answers equally and tells languages of targets too."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    source, run, out = tmp_path / "in", tmp_path / "run", tmp_path / "out"
    write("plbart", source)
    languages = ["en_XX", "python"] if direction == "text_to_code" else ["python", "en_XX"]
    plbart_tokenizer(source, language_codes=codes, src_lang=languages[0], tgt_lang=languages[1])
    assert main("import", "--from", source, "--workdir", run) == 0
    settings = ["--config.decode.max_tokens=12", "--config.decode.beam_size=3"]
    settings += ["--config.decode.no_repeat_ngram_size=2"]
    result = exported(capsys, run, out, "--to", "huggingface", *settings)
    assert result["parity"]["greedy_identical"] == result["parity"]["prompts"] == 4
    assert result["tokenizer"]["different"] == 0
    came, went = (load_file(path / "model.safetensors") for path in (source, out))
    assert came.keys() == went.keys()
    for name, value in came.items():
        read = slice(2 if "embed_positions" in name else 0, None)  # nothing reads the first two positions
        np.testing.assert_array_equal(went[name][read], value[read], err_msg=name)

    model, theirs = (
        loader.from_pretrained(out) for loader in (transformers.AutoModelForSeq2SeqLM, transformers.AutoTokenizer)
    )
    assert (type(model).__name__, type(theirs).__name__) == ("PLBartForConditionalGeneration", "PLBartTokenizer")
    assert model.config.max_position_embeddings == theirs.model_max_length == 64
    ours = Tokenizers.load(run / "tokenizer", direction)
    for text in [*STRINGS, *TEXTS, " __python__ <mask>"]:
        given = to_words(text) if direction == "code_to_text" else text
        assert theirs(given).input_ids == [*ours.source.encode_batch([text])[0].tolist(), *ours.source.after]
    assert theirs(text_target="a b").input_ids[-1] == ours.target.start != ours.source.after[-1]

    text = "def first(values):\n    return values[0]\n" if direction == "code_to_text" else "Return the first value."
    given = theirs(to_words(text) if direction == "code_to_text" else text, return_tensors="pt")
    capsys.readouterr()
    for beams in (1, 3):
        options = [*settings, f"--config.decode.beam_size={beams}", "--json", text]
        assert main("generate", "--workdir", run, *options) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        with torch.no_grad():
            found = model.generate(**given, num_beams=beams)[0].tolist()
        assert found[0] == ours.target.start
        assert answer["text" if direction == "code_to_text" else "code"] == ours.target.decode(found[1:])
        assert len(set(found)) > 3, "an answer of one token would agree whatever the model"
    card = (out / "README.md").read_text()
    assert "whose words `NEW_LINE`, `INDENT` and `DEDENT` are its layout" in card
    assert "spm.model" not in card

    assert main("import", "--from", out, "--workdir", tmp_path / "back", "--json") == 0
    assert json.loads(capsys.readouterr().out)["model_type"] == "plbart"
    assert exported(capsys, tmp_path / "back", tmp_path / "again", "--to", "huggingface")["tokenizer"]["different"] == 0
    for name in ("config.json", "tokenizer_config.json", "sentencepiece.bpe.model"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name
    exported(capsys, run, tmp_path / "prefixed", "--to", "huggingface", "--config.data.prefix=first: ")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "prefixed")
    prefix, ids = (ids.tolist() for ids in ours.source.encode_batch(["first: ", "values"]))
    assert theirs("values").input_ids == [*prefix, *ids, *ours.source.after]


def test_ctranslate2_writes_a_plbarts_answers(tmp_path, capsys, monkeypatch):
    """It scores a target up to eos, behind which PLBART's has its language."""
    pytest.importorskip("ctranslate2")
    monkeypatch.setattr("t2c_jax.interop.parity.STEPS", 56)  # by default all of these targets are cut before their end
    write("plbart", tmp_path / "in")
    assert main("import", "--from", tmp_path / "in", "--workdir", tmp_path / "run") == 0
    result = exported(capsys, tmp_path / "run", tmp_path / "out", "--to", "ctranslate2")
    assert result["parity"]["largest_log_prob_difference"] < 1e-4
    assert result["parity"]["greedy_identical"] == result["parity"]["prompts"] == 4


def test_a_trimmed_plbart_has_no_file_of_the_whole_vocabulary(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    write("plbart", tmp_path / "in")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"text": TEXTS[0], "code": "def first(values): return None"}) + "\n")
    arguments = ["--from", tmp_path / "in", "--workdir", tmp_path / "run", "--trim-to", pairs]
    assert main("import", *arguments) == 0
    text = TEXTS[0]
    for vocabulary, kind in (("trimmed", "PreTrainedTokenizerFast"), ("original", "PLBartTokenizer")):
        out = tmp_path / vocabulary
        result = exported(capsys, tmp_path / "run", out, "--to", "huggingface", "--vocabulary", vocabulary)
        assert result["parity"]["greedy_identical"] == result["parity"]["prompts"]
        theirs = transformers.AutoTokenizer.from_pretrained(out)
        assert json.loads((out / "tokenizer_config.json").read_text())["tokenizer_class"] == kind
        assert theirs.decode(theirs(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    "model",
    [
        t5_sides(),
        {**t5_sides(activation="relu", head_width=6), "tied_embeddings": False},
        {**both(activation="gelu_tanh", norm_epsilon=1e-3), "scale_tied_output": False},
        {"encoder": encoder(activation="gated_silu", rope_theta=500.0), "decoder": decoder(layers=3, num_heads=3)},
        both(activation="gelu"),
        BART,
    ],
    ids=["t5", "t5 with relu", "gelu_tanh", "sides of other shapes", "gelu", "bart"],
)
def test_ctranslate2_loads_it_and_answers_the_same(model, run, tmp_path, capsys):
    pytest.importorskip("ctranslate2")
    checkpoint(run, **model)
    result = exported(capsys, run, tmp_path / "out", "--to", "ctranslate2")
    assert result["parity"]["largest_log_prob_difference"] < 1e-4
    assert result["parity"]["greedy_identical"] == result["parity"]["prompts"]
    assert {"model.bin", "config.json", "shared_vocabulary.json", "tokenizer.json", "README.md"} <= set(result["files"])


def test_an_empty_greedy_answer_is_the_same_answer(run, tmp_path, capsys):
    """CTranslate2 answers at least one token by default."""
    pytest.importorskip("ctranslate2")

    def end_at_once(params):
        states = params["decoder"]["norm"]["scale"]
        params["output"][:] = -1.0
        params["output"][EOS] = 1.0
        states[:] = np.abs(states)

    checkpoint(run, change=end_at_once, tied_embeddings=False)
    result = exported(capsys, run, tmp_path / "out", "--to", "ctranslate2")
    assert result["parity"]["greedy_identical"] == result["parity"]["prompts"]


def program_of(card, directory, text):
    """The card's Python, for another directory and prompt."""
    program = card.split("```python")[1].split("```")[0].replace('directory = "."', f"directory = {str(directory)!r}")
    lines = [f"text = {text!r}" if line.startswith("text = ") else line for line in program.splitlines()]
    assert len(lines) == len(program.splitlines()) > 8
    return "\n".join(lines)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_the_cards_search_finds_the_beams_of_ours(length_penalty, run, tmp_path, capsys, monkeypatch):
    """Also for a source beyond 1,024 tokens, where CTranslate2 cuts by default.

    With nothing forbidden, since it then computes the probabilities otherwise, and specials are likely before training.
    """
    monkeypatch.setattr("t2c_jax.decode.settings.unwritable", lambda tokenizer, **_: [])
    pytest.importorskip("ctranslate2")
    settings = ("--config.decode.beam_size=4", f"--config.decode.length_penalty={length_penalty}")
    settings += ("--config.decode.no_repeat_ngram_size=0", "--config.data.encoder_length=4096")
    _, tokenizer = checkpoint(run)
    exported(capsys, run, tmp_path / "out", "--to", "ctranslate2", *settings)
    card = (tmp_path / "out" / "README.md").read_text()
    texts = ["Return the sum.", "x", "Read all lines of a file, " * 150, "Say hello to the first list of 3 words."]
    assert max(map(len, tokenizer.encode_batch(texts))) > 1100
    assert main("generate", "--workdir", run, "--json", *settings, *texts) == 0
    ours = [answer["code"] for answer in json.loads(capsys.readouterr().out)]
    for text, expected in zip(texts, ours, strict=True):
        names = {}
        program = program_of(card, tmp_path / "out", text).replace(" if token.special]", " if False]")
        exec(compile(program, "README.md", "exec"), names)
        assert names["never"] == []
        found = [names["tokenizer"].token_to_id(token) for token in names["found"][0].hypotheses[0]]
        assert tokenizer.decode(found) == expected


def test_the_cards_own_words_work(run, tmp_path, capsys):
    pytest.importorskip("ctranslate2")
    checkpoint(run)
    exported(capsys, run, tmp_path / "out", "--to", "ctranslate2")
    card = (tmp_path / "out" / "README.md").read_text()
    program = program_of(card, tmp_path / "out", "a text")
    assert "no_repeat_ngram_size=9" in program
    assert "`no_repeat_ngram_size`), as transformers does under `renormalize_logits`" in card
    assert "`tokenizer.json` makes U+FFFD for every byte, the run's tokenizer for its incomplete end only" in card
    exec(compile(program, "README.md", "exec"), {})


def test_int8_is_measured_and_smaller(run, tmp_path, capsys):
    pytest.importorskip("ctranslate2")
    checkpoint(run, width=64)
    whole = exported(capsys, run, tmp_path / "float32", "--to", "ctranslate2")
    small = exported(capsys, run, tmp_path / "int8", "--to", "ctranslate2", "--quantization", "int8")
    assert 1e-5 < small["parity"]["largest_log_prob_difference"] < 1.0
    assert small["files"]["model.bin"] < whole["files"]["model.bin"] / 2
    assert "(int8)" in (tmp_path / "int8" / "README.md").read_text()


@pytest.mark.parametrize(
    ("to", "arguments", "message"),
    [
        (
            "huggingface",
            [],
            "encoder=transformer is not in T5's format; train with config.model.encoder=t5",
        ),
        ("huggingface", ["--quantization", "int8"], "--quantization int8 is not for --to huggingface"),
        ("ctranslate2", ["--config.data.reverse_source=True"], "reverse_source=True cannot be exported"),
        ("ctranslate2", ["--config.data.placeholders=True"], "placeholders=True cannot be exported"),
        (
            "huggingface",
            ["--config.data.retrieve.neighbours=1", "--config.data.retrieve.tokens=8"],
            "retrieve.neighbours=1 cannot be exported",
        ),
        ("ctranslate2", ["--config.model.copy=True"], "copy=True cannot be exported"),
        (
            "ctranslate2",
            ["--config.model.encoder=bart", "--config.model.encoder.num_heads=2"],
            "config.model.encoder=bart can be exported with the other side",
        ),
        ("ctranslate2", ["--config.model.decoder=lstm"], "config.model.decoder=lstm cannot be exported"),
        ("ctranslate2", ["--step", "3"], "has no checkpoint 3; it has 7"),
    ],
)
def test_what_cannot_be_is_refused(to, arguments, message, run, tmp_path, capsys):
    checkpoint(run)
    assert message in refused(capsys, run, tmp_path / "out", "--to", to, *arguments)
    assert not list(tmp_path.glob("*out*"))


def test_a_directory_with_something_in_it_is_left_alone(run, tmp_path, capsys):
    checkpoint(run)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("mine")
    assert "exists and is not empty" in refused(capsys, run, tmp_path / "out", "--to", "ctranslate2")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]
    assert "exists and is not empty" in refused(capsys, run, tmp_path / "out" / "kept", "--to", "ctranslate2")


def test_an_empty_directory_is_filled_and_stays_the_one_it_is(run, tmp_path, capsys, monkeypatch):
    checkpoint(run, **t5_sides())
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    before = Path.cwd().stat().st_ino
    result = exported(capsys, run, ".", "--to", "huggingface")
    assert {path.name for path in Path().iterdir()} == set(result["files"]) > {"README.md", "model.safetensors"}
    assert (tmp_path / "out").stat().st_ino == before
    assert [path.name for path in tmp_path.glob("*out*")] == ["out"]


def test_an_output_that_cannot_be_is_refused_before_the_checkpoint_is_read(run, tmp_path, capsys):
    checkpoint(run, **t5_sides())
    (tmp_path / "file").write_text("mine")
    for output in ("file/out", "file/deeper/out"):
        said = refused(capsys, run, tmp_path / output, "--to", "huggingface", "--step", "3")
        assert f"{output}' cannot be, for '{tmp_path / 'file'}' is a file" in said


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_an_output_that_cannot_be_written_gets_a_line(number, run, tmp_path, capsys, monkeypatch):
    checkpoint(run, **t5_sides())
    mkdir = Path.mkdir

    def refuse(path, *arguments, **keywords):
        if path.name.startswith(".out."):
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "mkdir", refuse)
    said = refused(capsys, run, tmp_path / "out", "--to", "huggingface")
    assert f"cannot write '{tmp_path}/.out." in said
    assert said.endswith("; choose another --output")


def test_without_ctranslate2_the_error_says_how_to_install_it(run, tmp_path, capsys, monkeypatch):
    checkpoint(run)
    monkeypatch.setitem(__import__("sys").modules, "ctranslate2.specs", None)
    assert "pip install 't2c-jax[export]'" in refused(capsys, run, tmp_path / "out", "--to", "ctranslate2")


def test_an_export_that_is_not_the_model_leaves_nothing(run, tmp_path, capsys, monkeypatch):
    checkpoint(run, **t5_sides())
    honest = t5.params_to_huggingface

    def wrong(config, params):
        tensors = honest(config, params)
        tensors["decoder.final_layer_norm.weight"] = tensors["decoder.final_layer_norm.weight"] * np.float32(1.01)
        return tensors

    monkeypatch.setattr(export_huggingface.t5, "params_to_huggingface", wrong)
    said = refused(capsys, run, tmp_path / "out", "--to", "huggingface")
    assert "the exported model is not the same by" in said
    assert not list(tmp_path.glob("*out*"))
