"""Settings that no shape shows: compared where they are read, refused where nobody meant them, shown where one did."""

import dataclasses
from dataclasses import replace

import pytest
from small_run import trained, write_config  # noqa: F401
from test_from_a_run import experiment_of, started
from tiny import MODEL

from t2c_jax import config as configs
from t2c_jax.checkpoints.compatibility import Difference, different_settings
from t2c_jax.checkpoints.pytrees import flat
from t2c_jax.checkpoints.start import check_origin
from t2c_jax.config import Experiment, PretrainedConfig, RecurrentConfig
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Definition
from t2c_jax.workdir import write_json

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WHOLE = ("embedding", "encoder", "decoder")
BERT = PretrainedConfig(vocab_size=40, width=24, layers=2, heads=3, feed_forward=32, positions=20)
T5 = replace(MODEL, position="t5")
WITH_BERT = replace(MODEL, encoder="bert", pretrained=BERT)
WITH_LSTM = replace(MODEL, encoder="lstm", decoder="lstm", recurrent=RecurrentConfig(width=16, bidirectional=False))


def differing(model, taken=WHOLE, data=None, **there):
    """Keys that differ between a run and a source whose config is the run's but for ``there``."""
    ours = replace(Experiment(), model=model)
    theirs = configs.to_dict(replace(ours, model=replace(model, **there)))
    theirs["data"] |= data or {}
    return [one.key for one in different_settings(ours, theirs, taken)]


@pytest.mark.parametrize(
    ("model", "there", "parts"),
    [
        (MODEL, {"activation": "gated_silu"}, ("encoder", "decoder")),
        (MODEL, {"scale_attention": False}, ("encoder", "decoder")),
        (MODEL, {"norm_epsilon": 1e-5}, ("encoder", "decoder")),
        (MODEL, {"rope_theta": 5e5}, ("encoder", "decoder")),
        (T5, {"relative_max_distance": 99}, ("encoder", "decoder")),
        (MODEL, {"scale_tied_output": False}, ("embedding",)),
        (WITH_BERT, {"pretrained": replace(BERT, activation="relu")}, ("encoder",)),
        (WITH_BERT, {"pretrained": replace(BERT, first_position=2)}, ("encoder",)),
        (WITH_BERT, {"pretrained": replace(BERT, norm_epsilon=1e-5)}, ("encoder",)),
        (WITH_BERT, {"activation": "gated_silu"}, ("decoder",)),
    ],
)
def test_a_setting_that_no_shape_shows_counts_where_it_is_read(model, there, parts):
    key = next(iter(there))
    if key == "pretrained":
        key = f"pretrained.{next(name for name in vars(BERT) if getattr(BERT, name) != getattr(there[key], name))}"
    for part in parts:
        assert differing(model, (part,), **there) == [f"model.{key}"]
    for part in {*WHOLE} - {*parts}:
        assert differing(model, (part,), **there) == []


@pytest.mark.parametrize(
    ("model", "there"),
    [
        (T5, {"rope_theta": 5e5}),
        (MODEL, {"relative_max_distance": 99}),
        (replace(MODEL, tied_embeddings=False), {"scale_tied_output": False}),
        (WITH_LSTM, {"activation": "gated_silu", "heads": 4, "scale_attention": False, "norm_epsilon": 1.0}),
        (MODEL, {"recurrent": RecurrentConfig(width=9), "pretrained": replace(BERT, activation="relu")}),
        (MODEL, {"dropout": 0.5, "scan": False, "remat": "full", "dtype": "bfloat16", "attention": "xla"}),
        (MODEL, {"copy": True, "encoder_heads": ("tagging",), "embedding_width": 8, "decoder_layers": 1}),
    ],
    ids=["no rope", "no bias", "untied", "no transformer", "other encoders", "execution", "parts and depth"],
)
def test_what_no_parameter_is_read_under_and_what_settle_shows_are_free(model, there):
    assert differing(model, **there) == []


def test_the_order_of_the_source_counts_for_an_encoder_that_is_taken():
    assert differing(MODEL, data={"reverse_source": True}) == ["data.reverse_source"]
    assert differing(MODEL, ("decoder",), data={"reverse_source": True}) == []


def test_a_config_of_a_release_without_a_key_had_its_default():
    theirs = {"model": {key: getattr(MODEL, key) for key in ("encoder", "decoder", "width")}}
    assert different_settings(replace(Experiment(), model=replace(MODEL, copy=True)), theirs, WHOLE) == []
    odd = replace(Experiment(), model=replace(MODEL, activation="relu"))
    assert different_settings(odd, theirs, WHOLE) == [Difference("model.activation", "relu", "gated_gelu")]


OTHER = {"encoder": "gru", "decoder": "lstm", "activation": "relu", "encoder_heads": ("tagging",)}
OTHER |= {"attention": "additive", "bridge": "copy", "dtype": "bfloat16", "remat": "full"}


@pytest.mark.parametrize(
    ("model", "section"), [(MODEL, ""), (T5, ""), (WITH_LSTM, "recurrent"), (WITH_BERT, "pretrained")]
)
def test_no_setting_is_passed_over(model, section):
    """Each changes a shape, or counts, or is how the model is run; or it is of the other kind of positions."""

    def shapes(config):
        return {path: leaf.shape for path, leaf in flat(Definition(config, 32).abstract_params()).items()}

    passed_over, values = set(), getattr(model, section) if section else model
    other = {**OTHER, "position": "rope" if model.position == "t5" else "t5"}
    for name, value in dataclasses.asdict(values).items():
        if isinstance(value, dict):
            continue
        changed = other[name] if name in other else not value if isinstance(value, bool) else value * 2 or 1
        there = {section: replace(values, **{name: changed})} if section else {name: changed}
        if not differing(model, **there) and shapes(replace(model, **there)) == shapes(model):
            passed_over.add(name)
    positions = {"rope_theta"} if model.position == "t5" else {"relative_max_distance", "relative_buckets"}
    execution = {"attention", "scan", "remat", "dtype", "dropout", "uniform_init"}
    # The head's width is that of a head which this model has not.
    assert passed_over == ({*positions, *execution, "embedding_width"} if not section else set())


def test_a_difference_that_nobody_meant_is_told_in_one_line_before_anything_is_done(trained):  # noqa: F811
    with pytest.raises(UserError) as caught:
        check_origin(experiment_of(trained, "model.activation=gated_silu", origin=f"{trained}@12"))
    message = str(caught.value)
    assert "(checkpoint 12) was trained with config.model.activation=gated_gelu, and here it is gated_silu" in message
    assert "set it to gated_gelu, or set config.inherit=True and override it" in message
    assert "\n" not in message
    with pytest.raises(UserError, match=r"config.data.reverse_source=False, and here it is True"):
        started(experiment_of(trained, "data.reverse_source=true", origin=f"{trained}@12"))


def test_an_override_of_what_is_inherited_is_meant_and_shown(trained, tmp_path, capsys):  # noqa: F811
    config = tmp_path / "config.py"
    config.write_text(
        "from t2c_jax import config as schema\n\n\ndef get_config():\n    config = schema.default()\n"
        f"    config.inherit, config.init_from = True, {str(trained)!r}\n    return config\n"
    )
    plain = configs.load(str(config))
    started(plain)
    assert "config." not in capsys.readouterr().err
    overridden = configs.load(str(config), ["model.rope_theta=5e5", "data.reverse_source=true"])
    check_origin(overridden)
    started(overridden)
    shown = " ".join(capsys.readouterr().err.split())
    assert "config.model.rope_theta" in shown
    assert "500000.0, there 10000.0" in shown
    assert "True, there False" in shown


def test_inherit_takes_the_order_of_the_source_too(trained, tmp_path):  # noqa: F811
    settings = configs.to_dict(configs.load(str(trained / "config.json")))
    settings["data"]["reverse_source"] = True
    write_json(trained / "config.json", settings)
    config = write_config(tmp_path)
    options = ["inherit=true", f"init_from={trained}"]
    assert configs.load(str(config), options).data.reverse_source
    assert not configs.load(str(config), [*options, "data.reverse_source=false"]).data.reverse_source
