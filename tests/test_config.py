import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from t2c_jax import config as schema
from t2c_jax.config import (
    Experiment,
    architecture,
    check,
    decoders,
    default,
    encoders,
    from_dict,
    load,
    to_config_dict,
    to_dict,
)
from t2c_jax.errors import UserError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


@pytest.fixture
def plain(tmp_path: Path) -> str:
    """A config file that changes nothing."""
    return written(tmp_path, "return schema.default()")


def written(directory: Path, body: str, signature: str = "") -> str:
    path = directory / "experiment.py"
    path.write_text(f"from t2c_jax import config as schema\n\ndef get_config({signature}):\n    {body}\n")
    return str(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_in_the_checkout_loads_and_checks(path: Path):
    assert isinstance(load(str(path)), Experiment)
    assert f"--config configs/{path.name}" in path.read_text(), "the docstring holds the command"


def test_there_are_configs():
    assert CONFIGS


def test_defaults_go_round_through_every_form(plain: str, tmp_path: Path):
    experiment = Experiment()
    check(experiment)
    assert from_dict(to_dict(experiment)) == experiment
    assert from_dict(default().to_dict()) == experiment
    assert from_dict(to_config_dict(experiment)) == experiment
    assert load(plain) == experiment
    resolved = tmp_path / "config.json"
    resolved.write_text(json.dumps(to_dict(experiment)))
    assert load(str(resolved)) == experiment


def test_to_dict_is_plain_json():
    values = to_dict(Experiment())
    assert json.loads(json.dumps(values)) == values
    assert values["corpus"]["sources"] == ["python:stdlib"]


def sections(section: object = Experiment()) -> Iterator[object]:
    """A section and all that are in it, however deep."""
    yield section
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from sections(value)


def test_every_field_is_documented():
    found = [type(section).__name__ for section in sections()]
    assert {"Experiment", "DataConfig", "TransformerEncoderConfig", "TransformerDecoderConfig"} <= set(found)
    others = [registry.get(name, name)() for registry in (encoders, decoders) for name in registry]
    for section in [*sections(), *others]:
        assert section.__doc__
        for field in dataclasses.fields(section):
            nested = dataclasses.is_dataclass(getattr(section, field.name))
            assert nested or field.metadata["doc"].endswith("."), f"{type(section).__name__}.{field.name}"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.steps=7000", "train.steps", 7000),
        ("optimizer.learning_rate=3e-4", "optimizer.learning_rate", 3e-4),
        ("optimizer.learning_rate=1", "optimizer.learning_rate", 1.0),
        ("model.scan=false", "model.scan", False),
        ("model.scan=True", "model.scan", True),
        ("model.encoder.layers=3", "model.encoder.layers", 3),
        ("data.prefix=123", "data.prefix", "123"),
        ("data.prefix=a=b", "data.prefix", "a=b"),
        ("data.prefix=", "data.prefix", ""),
        ("corpus.sources=a,b/c d, e", "corpus.sources", ("a", "b/c d", "e")),
        ("corpus.sources=1,None", "corpus.sources", ("1", "None")),
        ("corpus.sources=('a','b')", "corpus.sources", ("a", "b")),
        ('corpus.sources=["a"]', "corpus.sources", ("a",)),
        ("corpus.sources='a','b'", "corpus.sources", ("a", "b")),
        ("seed=3", "seed", 3),
    ],
)
def test_override(plain: str, override: str, key: str, value: object):
    found: object = load(plain, [override])
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("(encoder|decoder).norm=0,x=1", ("(encoder|decoder).norm=0", "x=1")),
        ("[ab]*.py", ("[ab]*.py",)),
        ("(a", ("(a",)),
        ("{a,b}/**,c", ("{a,b}/**", "c")),
        ("(a,b)", ("a", "b")),
        ("[a, b]", ("a", "b")),
        ("it's,b", ("it's", "b")),
        ("x{1,2}$,y", ("x{1,2}$", "y")),
        ("(a,b", ("(a", "b")),
    ],
)
def test_items_of_a_tuple_may_begin_with_brackets(plain: str, text: str, items: tuple[str, ...]):
    assert load(plain, [f"corpus.exclude={text}"]).corpus.exclude == items


def test_an_architecture_is_chosen_by_its_type_alone(plain: str):
    """The type comes first, whatever the order of the overrides, and brings its own defaults."""
    experiment = load(plain, ["model.encoder.width=96", "model.encoder=gru", "model.decoder.type=lstm"])
    assert experiment.model.encoder == encoders.get("gru", "")(width=96)
    assert experiment.model.decoder == decoders.get("lstm", "")()
    values = to_dict(experiment)
    assert values["model"]["encoder"]["type"] == "gru"
    assert from_dict(values) == from_dict(to_config_dict(experiment)) == experiment


def test_an_architecture_in_a_config_file(tmp_path: Path):
    body = "c = schema.default(); c.model.encoder = schema.architecture('encoder', 'lstm', layers=2)"
    path = written(tmp_path, f"{body}; c.model.encoder.width = 64; return c")
    assert load(path).model.encoder == encoders.get("lstm", "")(layers=2, width=64)
    assert load(path, ["model.encoder.layers=3"]).model.encoder == encoders.get("lstm", "")(layers=3, width=64)
    assert load(path, ["model.encoder=lstm"]).model.encoder == encoders.get("lstm", "")()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.encoder=lsmt"], "config.model.encoder='lsmt' must be one of"),
        (["model.encoder=lsmt"], "did you mean 'lstm'?"),
        (["model.decoder=bert"], "config.model.decoder='bert' must be one of bart, lstm, gru, transformer, t5"),
        (["model.encoder=lstm", "model.encoder.num_heads=2"], "unknown key 'num_heads' in config.model.encoder"),
        (["model.encoder.laeyrs=2"], "unknown key 'laeyrs' in config.model.encoder; did you mean 'layers'?"),
        (["model.encoder.layers=0"], "config.model.encoder.layers must be at least 1"),
        (["data.placeholders=true", "data.direction=code_to_text"], "placeholders=True needs config.data.direction"),
        (["model.encoder.layers.more=0"], "unknown key 'layers' in config.model.encoder"),
        (
            ["model.encoder=paths", "data.pack=true"],
            "config.model.encoder=paths needs config.data.pack=False, not True",
        ),
        (
            ["model.encoder=bert"],
            "config.model.encoder=bert has a tokenizer and parameters of its own",
        ),
        (
            ["model.encoder=bert", "origin.run=x", "data.encoder_length=600"],
            "config.data.encoder_length=600 exceeds the encoder's 512 positions",
        ),
        (
            ["model.encoder=bert", "origin.run=x", "model.encoder.num_heads=5"],
            "config.model.encoder.width=768 is not divisible by its num_heads=5",
        ),
        (
            ["model.encoder=lstm", "model.decoder=lstm", "model.decoder.bridge=copy"],
            "config.model.decoder.bridge=copy needs an encoder of the decoder's type",
        ),
        (["model.decoder=gru", "model.decoder.attention=none"], "config.model.decoder.input_feeding needs attention"),
        (["model.uniform_init=0.1"], "config.model.uniform_init is for recurrent encoders and decoders"),
        (["model.output_heads=taging"], "did you mean 'tagging'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_about_architectures(plain: str, overrides: Sequence[str], message: str):
    with pytest.raises(UserError) as caught:
        load(plain, overrides)
    assert message in str(caught.value)


def test_a_mistake_in_the_call_of_architecture():
    with pytest.raises(UserError, match=r"encoder type='lsmt' must be one of .*; did you mean 'lstm'\?"):
        architecture("encoder", "lsmt")
    with pytest.raises(UserError, match=r"unknown key 'layrs' in .*; did you mean 'layers'"):
        architecture("encoder", "lstm", layrs=2)


def test_later_overrides_win_and_json_files_may_lack_fields(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text('{"seed": 5}')
    experiment = load(str(path), ["train.steps=300", "train.steps=400"])
    assert (experiment.seed, experiment.train.steps, experiment.data) == (5, 400, Experiment().data)


def test_get_config_may_take_an_argument(tmp_path: Path):
    path = written(tmp_path, "c = schema.default(); c.train.steps = int(steps); return c", "steps='900'")
    assert load(path).train.steps == 900
    assert load(f"{path}:1200").train.steps == 1200


def test_a_path_may_hold_a_colon(tmp_path: Path):
    directory = tmp_path / "run-12:30"
    directory.mkdir()
    (directory / "config.json").write_text('{"seed": 5}')
    assert load(str(directory / "config.json")).seed == 5
    path = written(directory, "c = schema.default(); c.train.steps = int(steps); return c", "steps='900'")
    assert load(path).train.steps == 900
    assert load(f"{path}:1200").train.steps == 1200


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.stesp=1"], "unknown key 'stesp' in config.train; did you mean 'steps'?"),
        (["trian.steps=1"], "unknown key 'trian' in config; did you mean 'train'?"),
        (["train.steps.more=1"], "unknown key 'steps' in config.train"),
        (["train=1"], "config.train is a section; set one of its keys: steps, microbatches,"),
        (["train.steps"], "override 'train.steps' has no value; write --config.train.steps=VALUE"),
        (["train.steps=many"], "config.train.steps='many' must be of type int"),
        (["train.steps=1e3"], "config.train.steps=1000.0 must be of type int"),
        (["train.steps=True"], "config.train.steps=True must be of type int"),
        (["model.scan=1"], "config.model.scan=1 must be of type bool"),
        (["model.dropout=nan"], "config.model.dropout='nan' must be of type float"),
        (["optimizer.learning_rate=1e999"], "config.optimizer.learning_rate=inf must be a finite number"),
        (
            ["model.attention=cudn"],
            "attention='cudn' must be one of auto, xla, cudnn, pallas; did you mean 'cudnn'?",
        ),
        (["corpus.sources=(1,2)"], "config.corpus.sources=1 must be of type str"),
        (["corpus.sources="], "config.corpus.sources is empty; name a directory"),
        (["train.steps=0"], "config.train.steps must be at least 1"),
        (
            ["decode.grammar=sqll"],
            "config.decode.grammar='sqll' must be one of python, python-line, bash, sql, json; did",
        ),
        (
            ["decode.grammar=json", "decode.stop=x"],
            "config.decode.stop cuts answers, and config.decode.grammar completes",
        ),
        (["decode.beam_size=0"], "config.decode.beam_size must be at least 1"),
        (["optimizer.warmup_steps=-1"], "config.optimizer.warmup_steps must be at least 0"),
        (["optimizer.clip_norm=-1.0"], "config.optimizer.clip_norm must be at least 0"),
        (["evaluate.max_examples=-5"], "config.evaluate.max_examples must be at least 0"),
        (["seed=-1"], "config.seed must be at least 0"),
        (["model.dropout=1.0"], "config.model.dropout=1.0 must lie in [0, 1)"),
        (["optimizer.beta2=1.0"], "config.optimizer.beta2=1.0 must lie in [0, 1)"),
        (["optimizer.end_share=1.5"], "config.optimizer.end_share=1.5 must lie in [0, 1]"),
        (["model.encoder.norm_epsilon=0"], "config.model.encoder.norm_epsilon must be above 0"),
        (["optimizer.learning_rate=0"], "config.optimizer.learning_rate must be above 0"),
        (["optimizer.decay_mask=("], "config.optimizer.decay_mask='(' is no regular expression"),
        (["corpus.dev_share=0.5", "corpus.test_share=0.5"], "leave nothing to train on; lower them"),
        (["corpus.min_code_chars=5000"], "config.corpus.min_code_chars=5000 exceeds max_code_chars=4000"),
        (["model.encoder.head_width=33"], "config.model.encoder.head_width=33 must be even under rotary embedding"),
        (["model.decoder.kv_heads=3"], "config.model.decoder.num_heads=8 is not divisible by its kv_heads=3"),
        (["model.encoder.layer_kinds=global"], "layer_kinds: 'global' must be one of full, local"),
        (["model.encoder.layer_kinds=local,full"], "layer_kinds names local, which needs config.model.encoder.window_"),
        (["model.decoder.window_after=2"], "a decoder sees nothing after itself"),
        (
            ["model.decoder.merged_attention=true", "model.encoder.width=64"],
            "config.model.decoder.merged_attention needs an encoder as wide as config.model.width=256; it is 64",
        ),
        (
            ["model.encoder.attention_softcap=9", "model.attention=cudnn", "model.dtype=bfloat16"],
            "config.model.encoder.attention_softcap is not",
        ),
        (["train.watchdog_seconds=-1"], "config.train.watchdog_seconds must be at least 0"),
        (
            ["model.decoder.relative_buckets=3", "model.decoder=t5"],
            "config.model.decoder.relative_buckets must be at least 4",
        ),
        (
            ["model.encoder=t5", "model.encoder.relative_max_distance=16"],
            "config.model.encoder.relative_max_distance=16 must exceed half of relative_buckets=32",
        ),
        (["model.attention=cudnn"], "config.model.attention=cudnn needs config.model.dtype=bfloat16, not float32"),
        (
            ["model.attention=cudnn", "model.dtype=bfloat16", "model.decoder.head_width=136"],
            "a multiple of 8 and at most 128; those of config.model.decoder are 136 wide: set attention to auto",
        ),
        (["train.microbatches=3"], "config.data.batch_size=16 is not divisible by config.train.microbatches=3"),
        (["train.steps=50"], "config.optimizer.warmup_steps=100 must lie between 0 and train.steps=50"),
        (["mesh.data=-1", "mesh.fsdp=-1"], "and at most one is -1"),
        (["mesh.data=0"], "sizes are at least 1, fsdp and tensor also 0"),
        (["tokenizer.vocab_size=300"], "config.tokenizer.vocab_size=300 must exceed 364"),
        (
            ["evaluate.metrics=blue"],
            "config.evaluate.metrics: 'blue' is unknown; did you mean 'bleu'?; known are exact",
        ),
        (["evaluate.metrics=bleu,bleu"], "config.evaluate.metrics names 'bleu' twice"),
        (["evaluate.metrics="], "config.evaluate.metrics is empty; name some of exact_match, bleu,"),
        (["corpus.code=apis", "corpus.text=name"], "set config.corpus.text=summary"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_get_one_line(plain: str, overrides: Sequence[str], message: str):
    with pytest.raises(UserError) as caught:
        load(plain, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("c = schema.default(); c.train.stpes = 3; return c", "stpes"),
        ("c = schema.default(); c.train.steps = 'x'; return c", "failed: TypeError"),
        ("raise RuntimeError('first\\nsecond')", "failed: RuntimeError: first second"),
        ("return 1 / 0", "failed: ZeroDivisionError"),
        ("return None", "must return a ConfigDict, not NoneType"),
        ("return schema.no_such_thing", "failed: AttributeError"),
        ("c = schema.default(); c.model.dropout = float('nan'); return c", "config.model.dropout=nan must be a finite"),
    ],
)
def test_a_broken_config_file(tmp_path: Path, body: str, message: str):
    path = written(tmp_path, body)
    with pytest.raises(UserError) as caught:
        load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.py", "x = 1", "has no get_config()"),
        ("a.py", "def get_config(:", "failed: SyntaxError"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[]", "must hold a JSON object"),
        ("a.json", '{"train": 3}', "config.train is a section, not 3"),
        ("a.json", '{"model": {"wdith": 3}}', "unknown key 'wdith' in config.model; did you mean 'width'?"),
        ("a.yaml", "x: 1", "must be a .py file with get_config(), or a .json file"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, name: str, text: str, message: str):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        load(str(path))


def test_an_override_into_a_section_that_the_json_file_spoils(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text('{"train": 3}')
    with pytest.raises(UserError, match=r"config\.train is a section, not 3"):
        load(str(path), ["train.steps=5"])


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist; see configs/"):
        load(str(tmp_path / "nowhere.py"))


def test_lists_in_a_config_file_are_tuples_in_the_experiment(tmp_path: Path):
    path = written(tmp_path, "c = schema.default(); c.corpus.sources = ('src', 'docs'); return c")
    assert load(path).corpus.sources == ("src", "docs")
    assert schema.from_dict({"corpus": {"sources": ["src"]}}).corpus.sources == ("src",)
