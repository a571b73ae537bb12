"""The report names the encoder length that fills rows best."""

import numpy as np

from t2c_jax.config import DataConfig
from t2c_jax.data.packing_report import fits, show_fits
from t2c_jax.data.pipeline import Batches
from t2c_jax.data.tasks.translation import Translation
from t2c_jax.data.tokens import Tokens


def store(size):
    draw = np.random.Generator(np.random.PCG64(0))
    return Tokens.of(
        [[5] * n for n in draw.integers(5, 40, size)], [[6] * n for n in draw.integers(10, 80, size)], ["x"] * size
    )


def test_the_config_comes_first_and_the_best_fit_lies_near_the_ratio():
    found = fits(store(2000), DataConfig(encoder_length=512, decoder_length=512, packing_pool=2000), Translation())
    assert found[0].encoder_length == 512
    shares = [fit.real_token_share for fit in found[1:]]
    assert shares == sorted(shares, reverse=True)
    assert abs(found[1].encoder_length - 512 * 23 / 46) <= 32
    assert found[1].real_token_share > 0.95 > found[0].real_token_share


def test_shown_to_people(capsys):
    show_fits(store(500), DataConfig(encoder_length=512, decoder_length=512), Translation())
    shown = capsys.readouterr()
    assert "512 (config)" in shown.err
    assert "would fill the rows" in shown.err
    assert shown.out == ""


def test_an_empty_split():
    assert fits(store(0), DataConfig(), Translation())[0].real_token_share == 0.0


def test_the_figures_are_those_of_a_run():
    tokens, data = store(2000), DataConfig(encoder_length=256, decoder_length=512, packing_pool=64)
    assert (
        fits(tokens, data, Translation(), seed=5)[0].real_token_share
        == Batches.of(tokens, data, seed=5).plan.real_token_share
    )
