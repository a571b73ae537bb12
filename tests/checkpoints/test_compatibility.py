"""Settings that no shape shows: compared where they are read, refused unless they are overrides, which are shown."""

import dataclasses
from dataclasses import replace

import pytest
from small_run import trained, write_config  # noqa: F401
from test_from_a_run import experiment_of, started
from tiny import MODEL, T5, decoder, encoder

from t2c_jax import config as configs
from t2c_jax.checkpoints import pytrees
from t2c_jax.checkpoints.compatibility import Settings, different_settings
from t2c_jax.checkpoints.inherit import load
from t2c_jax.config import DataConfig, field_names
from t2c_jax.errors import UserError
from t2c_jax.library.run_stages import check_origin
from t2c_jax.models.definition import Definition
from t2c_jax.workdir import write_json

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WHOLE = ("embedding", "encoder", "decoder")
BERT = encoder("bert", width=24, num_heads=3, feed_forward=32, positions=20)
WITH_BERT = replace(MODEL, encoder=BERT)
WITH_LSTM = replace(MODEL, encoder=encoder("lstm", bidirectional=False), decoder=decoder("lstm"))
SIDES = ("encoder", "decoder")


def differing(model, taken=WHOLE, data=None, **there):
    """Keys that differ between a run and a source whose config is the run's but for ``there``."""
    ours = Settings(model, DataConfig())
    theirs = Settings(replace(model, **there), replace(ours.data, **(data or {})))
    return [one.key for one in different_settings(ours, theirs, taken)]


@pytest.mark.parametrize(
    ("model", "change", "sides"),
    [
        (MODEL, {"activation": "gated_silu"}, SIDES),
        (MODEL, {"norm_epsilon": 1e-5}, SIDES),
        (MODEL, {"rope_theta": 5e5}, SIDES),
        (T5, {"relative_max_distance": 99}, SIDES),
        (WITH_BERT, {"activation": "relu"}, ("encoder",)),
        (WITH_BERT, {"first_position": 2}, ("encoder",)),
        (WITH_BERT, {"norm_epsilon": 1e-5}, ("encoder",)),
        (WITH_BERT, {"activation": "gated_silu"}, ("decoder",)),
    ],
)
def test_a_setting_that_no_shape_shows_is_compared_where_it_is_read(model, change, sides):
    for side in sides:
        there = {side: replace(getattr(model, side), **change)}
        assert differing(model, (side,), **there) == [f"model.{side}.{next(iter(change))}"]
        for part in {*WHOLE} - {side}:
            assert differing(model, (part,), **there) == []


def test_the_scale_of_a_tied_output_is_compared_where_the_table_is_read():
    assert differing(MODEL, ("embedding",), scale_tied_output=False) == ["model.scale_tied_output"]
    for part in SIDES:
        assert differing(MODEL, (part,), scale_tied_output=False) == []


@pytest.mark.parametrize(
    ("model", "there"),
    [
        (replace(MODEL, tied_embeddings=False), {"scale_tied_output": False}),
        (WITH_BERT, {"encoder": replace(BERT, layers=3, mix_layers=True)}),
        (MODEL, {"dropout": 0.5, "scan": False, "remat": "full", "dtype": "bfloat16", "attention": "xla"}),
        (MODEL, {"copy": True, "output_heads": ("tagging",), "embedding_width": 8, "decoder": decoder(layers=1)}),
    ],
    ids=["untied", "another shape", "execution", "parts and depth"],
)
def test_settings_that_no_parameter_is_read_under_and_shapes_may_differ(model, there):
    assert differing(model, **there) == []


def test_the_order_of_source_tokens_is_compared_for_an_encoder():
    assert differing(MODEL, data={"reverse_source": True}) == ["data.reverse_source"]
    assert differing(MODEL, ("decoder",), data={"reverse_source": True}) == []


OTHER = {"activation": "relu", "output_heads": ("tagging",), "unscaled_id": 3}
OTHER |= {"attention": "additive", "bridge": "copy", "dtype": "bfloat16", "remat": "full"}


@pytest.mark.parametrize(
    ("model", "section"),
    [
        (MODEL, ""),
        (MODEL, "encoder"),
        (T5, "decoder"),
        (WITH_LSTM, "encoder"),
        (WITH_LSTM, "decoder"),
        (WITH_BERT, "encoder"),
    ],
)
def test_every_setting_is_compared_or_changes_a_shape(model, section):
    """Each changes a shape, is compared, or says how the model is computed."""

    def shapes(config):
        return pytrees.shapes(Definition(config, 32).abstract_params())

    passed_over, values = set(), getattr(model, section) if section else model
    for name, value in vars(values).items():
        if dataclasses.is_dataclass(value):
            continue
        changed = OTHER[name] if name in OTHER else not value if isinstance(value, bool) else value * 2 or 1
        there = {section: replace(values, **{name: changed})} if section else {name: changed}
        if not differing(model, **there) and shapes(replace(model, **there)) == shapes(model):
            passed_over.add(name)
    # The head's width is that of a head which this model has not.
    assert passed_over == (set() if section else {*field_names(model, execution=True), "embedding_width"})


def test_an_unintended_difference_is_refused_before_any_work(trained):  # noqa: F811
    with pytest.raises(UserError) as caught:
        check_origin(experiment_of(trained, "model.encoder.activation=gated_silu", origin=f"{trained}@12"))
    message = str(caught.value)
    assert (
        "(checkpoint 12) was trained with config.model.encoder.activation=gated_gelu_tanh, and here it is gated_silu"
        in message
    )
    assert "set it to gated_gelu_tanh, or add shape to config.origin.take and override it" in message
    assert "\n" not in message
    with pytest.raises(UserError, match=r"config.data.reverse_source=False, and here it is True"):
        started(experiment_of(trained, "data.reverse_source=true", origin=f"{trained}@12"))


def test_an_override_of_an_inherited_setting_is_allowed_and_shown(trained, tmp_path, capsys):  # noqa: F811
    config = tmp_path / "config.py"
    config.write_text(
        "from t2c_jax import config as schema\n\n\ndef get_config():\n    config = schema.default()\n"
        f"    config.origin.run = {str(trained)!r}\n"
        "    config.origin.take = ('shape', 'tokenizer', 'prefix', 'parameters')\n    return config\n"
    )
    plain = load(str(config))
    started(plain)
    assert "config." not in capsys.readouterr().err
    overridden = load(str(config), ["model.encoder.rope_theta=5e5", "data.reverse_source=true"])
    check_origin(overridden)
    started(overridden)
    shown = " ".join(capsys.readouterr().err.split())
    assert "config.model.encoder.rope_theta" in shown
    assert "500000.0, there 10000.0" in shown
    assert "True, there False" in shown


def test_prefix_covers_the_order_of_source_tokens(trained, tmp_path):  # noqa: F811
    settings = configs.to_dict(load(str(trained / "config.json")))
    settings["data"]["reverse_source"] = True
    write_json(trained / "config.json", settings)
    config = write_config(tmp_path)
    options = [f"origin.run={trained}", "origin.take=prefix"]
    assert load(str(config), options).data.reverse_source
    assert not load(str(config), [*options, "data.reverse_source=false"]).data.reverse_source
