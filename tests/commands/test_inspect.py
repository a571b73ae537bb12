"""``t2c inspect``: counts by hand, what rates freeze, and what a workdir adds."""

import json

import pytest
from small_run import main, prepared, trained, write_config  # noqa: F401
from tiny import decoder, encoder

from t2c_jax.commands.parameter_table import inspect
from t2c_jax.config import Experiment, ModelConfig, OptimizerConfig, TokenizerConfig
from t2c_jax.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def experiment(rates=(), **model):
    sizes = {"width": 16, "encoder": encoder(layers=3), "decoder": decoder(layers=1)}
    tokenizer = TokenizerConfig(vocab_size=400)
    return Experiment(tokenizer=tokenizer, model=ModelConfig(**sizes | model), optimizer=OptimizerConfig(rates=rates))


def by_name(result):
    return {block["name"]: block for block in result["blocks"]}


def test_counts_of_a_transformer_by_hand():
    result = inspect(experiment())
    blocks = by_name(result)
    attention = blocks["encoder.blocks.attention"]
    assert attention["copies"] == 3
    assert attention["shapes"] == dict.fromkeys(("key", "output", "query", "value"), (16, 2, 8))
    assert attention["parameters"] == 3 * 4 * 16 * 16
    assert blocks["embedding"]["parameters"] == 400 * 16
    assert blocks["encoder.norm"]["shapes"] == {"scale": (16,)}
    layer = 4 * 16 * 16 + 3 * 16 * 32 + 2 * 16  # attention, gated feed-forward, a norm before each
    decoder = layer + 4 * 16 * 16 + 16  # cross-attention and its norm
    assert result["parameters"] == 400 * 16 + 3 * layer + 16 + decoder + 16
    assert result["trained"] == result["parameters"]
    assert sum(block["share"] for block in result["blocks"]) == pytest.approx(1)
    assert "checkpoints" not in result


def test_counts_of_a_recurrent_model_by_hand():
    reader = encoder("lstm", layers=1, width=8, bidirectional=False)
    writer = decoder("lstm", layers=1, width=8, input_feeding=False, bridge="copy")
    result = inspect(experiment(tied_embeddings=False, encoder=reader, decoder=writer))
    lstm = 4 * (16 * 8 + 8 * 8 + 8)
    attention = 8 * 8 + 2 * 8 * 16  # the query; the attentional state of the context and of h
    found = {name: block["parameters"] for name, block in by_name(result).items()}
    assert found == {
        "decoder.attention": attention,
        "decoder.layer_0": lstm,
        "embedding": 400 * 16,
        "encoder.forward_0": lstm,
        "output": 400 * 16,
    }
    assert all(block["copies"] == 1 for block in result["blocks"])


def test_a_mix_of_layers_is_counted():
    """One weight for each of two layers and the embedding's output, and a scale without axes."""
    reader = encoder("bert", vocab_size=100, width=8, feed_forward=16, positions=16, mix_layers=True)
    blocks = inspect(experiment(encoder=reader))["blocks"]
    assert sum(block["parameters"] for block in blocks if block["name"] == "encoder.mix") == 3 + 1


def test_rates_of_zero_freeze(capsys):
    result = inspect(experiment(rates=("attention.key=0", "^encoder=0.5", "^embedding=0")))
    keys = 16 * 16
    assert result["frozen"] == 400 * 16 + 5 * keys  # of three encoder blocks, and both kinds of a decoder block
    assert by_name(result)["embedding"]["trained"] == 0
    attention = by_name(result)["encoder.blocks.attention"]
    assert attention["parameters"] - attention["trained"] == 3 * keys
    assert f"{result['frozen']:,} frozen by config.optimizer.rates" in capsys.readouterr().err
    with pytest.raises(UserError, match="freezes every parameter"):
        inspect(experiment(rates=("=0",)))


def test_no_parameter_is_allocated():
    """A terabyte of them."""
    reader = encoder(layers=64, num_heads=128, head_width=128, feed_forward=2**16)
    assert inspect(experiment(width=2**14, encoder=reader))["parameters"] > 2.5e11


def test_the_table_is_for_people_and_json_for_programs(tmp_path, capsys):
    config = write_config(tmp_path)
    assert main("inspect", "--config", config, "--config.model.encoder.layers=2") == 0
    out, err = capsys.readouterr()
    assert not out
    assert "transformer to transformer, vocabulary 448" in err
    assert "x 2" in err
    assert main("inspect", "--config", config, "--json") == 0
    assert json.loads(capsys.readouterr().out)["vocabulary"] == 448


def test_vocabulary_and_checkpoints_come_from_the_workdir(trained, capsys):  # noqa: F811
    before = sorted(path for path in trained.rglob("*"))
    assert main("inspect", "--workdir", trained, "--json", "--config.tokenizer.vocab_size=999") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["vocabulary"] == 448
    assert 12 in result["checkpoints"]["steps"]
    assert result["checkpoints"]["best"] in result["checkpoints"]["steps"]
    assert "12" in err
    assert "(best)" in err
    assert sorted(path for path in trained.rglob("*")) == before


def test_a_workdir_without_checkpoints(prepared, tmp_path, capsys):  # noqa: F811
    config, workdir = prepared
    assert main("inspect", "--workdir", workdir, "--json") == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == {"steps": [], "best": None}
    new = tmp_path / "new"
    assert main("inspect", "--config", config, "--workdir", new, "--json") == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == {"steps": [], "best": None}
    assert not new.exists()


def test_neither_config_nor_workdir(capsys, tmp_path):
    assert main("inspect") == 2
    assert capsys.readouterr().err == "t2c: t2c inspect needs --workdir DIR or --config FILE\n"
    assert main("inspect", "--workdir", tmp_path / "none") == 2
    assert "holds no run yet; add --config FILE" in capsys.readouterr().err


def test_rates_that_reach_nothing_are_refused_before_anything_is_mined(tmp_path, capsys):
    config = write_config(tmp_path)
    options = ["--config", config, "--workdir", tmp_path / "run", "--config.optimizer.rates=^encodr=0"]
    assert main("run", *options) == 2
    assert "config.optimizer.rates: '^encodr=0' reaches no parameter" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / "corpus").exists()
