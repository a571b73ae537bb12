"""A product with a kernel in panels is the product with the matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t2c_jax.kernels import few_rows
from t2c_jax.kernels.few_rows import FewRowsKernel

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("inputs", "outputs", "form"),
    [(192, 384, "pdc"), (512, 128, "pdc"), (192, 400, "df"), (32, 64, "df")],
    ids=["wide", "narrow", "no whole panels", "small"],
)
@pytest.mark.parametrize("rows", [(8,), (4, 2)], ids=repr)
def test_products_are_those_of_the_matrix(inputs, outputs, form, rows):
    kernel, x = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((inputs, outputs), (*rows, inputs)))
    for made in (FewRowsKernel.of(kernel), FewRowsKernel.of_table(kernel.T)):
        assert made.form == form
        found = jax.jit(lambda made, x: made(x))(made, x)
        # float32 sums of as many products, in another order
        np.testing.assert_allclose(found, np.asarray(x) @ np.asarray(kernel), rtol=1e-4, atol=1e-4)


def test_panels_keep_the_dtype_and_give_the_one_that_is_asked_for():
    kernel = jnp.asarray(RNG.normal(size=(192, 384)), jnp.bfloat16)
    x = jnp.ones((2, 192), jnp.bfloat16)
    made = FewRowsKernel.of(kernel)
    assert made.values.dtype == made(x).dtype == jnp.bfloat16
    assert made(x, jnp.float32).dtype == jnp.float32


def test_an_accelerator_keeps_a_table_as_it_is(monkeypatch):
    """It has no use for panels, and a table of many outputs is large."""
    monkeypatch.setattr(few_rows, "target_platform", lambda: "tpu")
    table, x = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((384, 192), (3, 192)))
    made = FewRowsKernel.of_table(table)
    assert made.form == "fd"
    assert made.values is table
    np.testing.assert_allclose(made(x), np.asarray(x) @ np.asarray(table).T, rtol=1e-4, atol=1e-4)
