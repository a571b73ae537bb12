"""The scan with hoisted gradients is the plain scan, in values and in every gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import assert_close

from t2c_jax.kernels.deferred_scan import apply_with, scan_with_deferred_gradients

SPECS = {"state": "bh,hgk->bgk", "memory": "bs,bse->be"}


def step(apply, shared, carry, x):
    """Products with a weight and with a batch of memories, something shared, and an output beside the carry."""
    gates = x["gates"] + apply("state", carry)
    read = apply("memory", jax.nn.softmax(gates[:, 0] * shared[None], axis=-1))
    carry = jnp.tanh(gates[:, 1] + read) * x["keep"]
    return carry, (carry * 2, read)


def arguments():
    draw = np.random.default_rng(0)
    t, b, h = 6, 3, 4
    weights = {"state": draw.normal(size=(h, 2, h)), "memory": draw.normal(size=(b, h, h))}
    xs = {"gates": draw.normal(size=(t, b, 2, h)), "keep": draw.integers(0, 2, (t, b, 1))}
    values = weights, draw.normal(size=h), draw.normal(size=(b, h)), xs
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values)


@pytest.mark.parametrize("reverse", [False, True])
def test_values_and_gradients_are_those_of_a_plain_scan(reverse):
    def objective(scan):
        def total(*values):
            last, (ys, reads) = scan(*values)
            return jnp.sum(jnp.sin(ys) * jnp.arange(ys.size).reshape(ys.shape)) + jnp.sum(last**2) + jnp.sum(reads)

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3)))

    def plain(weights, shared, carry, xs):
        apply = apply_with(SPECS, weights)
        return jax.lax.scan(lambda carry, x: step(apply, shared, carry, x), carry, xs, reverse=reverse)

    def hoisted(weights, shared, carry, xs):
        return scan_with_deferred_gradients(step, SPECS, weights, shared, carry, xs, reverse=reverse)

    # The same float32 terms, summed in another order.
    assert_close(objective(hoisted)(*arguments()), objective(plain)(*arguments()), tolerance=1e-5)


def test_no_step_of_the_backward_scan_carries_a_weight():
    """What would be accumulated at every step: the scan's carry holds no array of the weights' shape."""
    values = arguments()

    def total(weights):
        return jnp.sum(scan_with_deferred_gradients(step, SPECS, weights, *values[1:])[0])

    program = jax.make_jaxpr(jax.grad(total))(values[0])
    scans = [equation for equation in program.jaxpr.eqns if equation.primitive.name == "scan"]
    carried = [variable.aval.shape for scan in scans for variable in scan.outvars[: scan.params["num_carry"]]]
    assert carried, "there are scans"
    assert values[0]["state"].shape not in carried
    assert values[0]["memory"].shape not in carried
