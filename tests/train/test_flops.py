"""Operations counted in jaxprs against products counted by hand."""

import types

import jax
import jax.numpy as jnp
import pytest
from tiny import VOCABULARY, batch, compiled_on, experiment, make_mesh

from t2c_jax.train import setup
from t2c_jax.train.telemetry.flops import PEAKS, Utilisation, forward_flops, peak_flops

A = jax.ShapeDtypeStruct((3, 5), jnp.float32)
B = jax.ShapeDtypeStruct((5, 7), jnp.float32)
ONCE = 2 * 3 * 5 * 7


def scanned(a, b):
    return jax.lax.scan(lambda x, _: (x + a @ b, None), jnp.zeros((3, 7)), length=4)[0]


def branched(a, b):
    return jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: (a @ b) @ jnp.ones((7, 7)))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda a, b: jnp.tanh(a @ b), ONCE),
        (lambda a, b: jnp.einsum("ij,jk->ki", a, b), ONCE),
        (scanned, 4 * ONCE),
        (jax.jit(jax.checkpoint(lambda a, b: a @ b)), ONCE),
        (branched, ONCE + 2 * 3 * 7 * 7),
        (lambda a, b: a.sum() + b.sum(), 0),
    ],
    ids=["product", "einsum", "scan", "jit and remat", "cond", "none"],
)
def test_products_are_counted(function, expected):
    assert forward_flops(function, A, B) == expected


@pytest.mark.parametrize("execution", [{}, {"scan": False}, {"remat": "full"}, {"attention": "cudnn"}])
def test_operations_of_a_model_by_its_shape(execution):
    """Three passes of 2 x parameters x tokens for each side's kernels, its attention, and the logits."""
    config = experiment(model=execution)
    compiled = compiled_on(make_mesh(config, jax.devices()[:1]), config)
    arrays = batch()
    rows = {name: (value.shape, value.dtype) for name, value in arrays.items()}
    model = config.model
    (B, S), T = arrays["encoder_input_tokens"].shape, arrays["decoder_target_tokens"].shape[1]
    side = model.encoder  # the decoder has the same shape
    inner, gated = side.num_heads * side.head_width, 3 * model.width * side.feed_forward
    attention = 4 * model.width * inner
    encoder = side.layers * (2 * S * (attention + gated) + 4 * S * S * inner)
    decoder = side.layers * (
        2 * T * (attention + gated)  # self-attention and feed-forward
        + 2 * T * 2 * model.width * inner  # cross-attention's queries and output
        + 2 * S * 2 * model.width * inner  # its keys and values
        + 4 * (T * T + T * S) * inner
    )
    logits = 2 * T * model.width * VOCABULARY
    assert compiled.model_flops(rows) == 3 * B * (encoder + decoder + logits)


def test_a_step_s_utilisation_counts_the_whole_batch(monkeypatch):
    """A process that holds half of the rows; on devices whose peak is unknown there is none."""
    config = experiment()
    compiled = compiled_on(make_mesh(config, jax.devices()[:1]), config)
    rows = {name: (value.shape, value.dtype) for name, value in batch().items()}
    assert setup.utilisation(compiled, rows, 16) is None
    monkeypatch.setattr(setup, "peak_flops", lambda devices: 10.0 * len(devices))
    assert setup.utilisation(compiled, rows, 16) == Utilisation(2 * compiled.model_flops(rows), 10.0)
    assert Utilisation(60.0, 100.0).share(2.0) == 60 / (2 * 100)


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
    ],
)
def test_the_first_peak_that_fits_a_kind_is_its_own(kind, peak):
    assert peak_flops([types.SimpleNamespace(device_kind=kind)] * 16) == 16 * peak
    assert peak in PEAKS.values()


def test_a_kind_that_is_not_known_has_no_peak():
    assert peak_flops(jax.devices()) is None
