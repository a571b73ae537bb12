"""A call of Python in each turn of a compiled loop, on one device and on several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny import experiment, make_mesh

from t2c_jax.decode import host_call
from t2c_jax.decode.host_call import call_host

RESULT = jax.ShapeDtypeStruct((8, 2), jnp.uint32)


def looped(function, turns=5):
    """Adds up what the function makes of 0, 1, ...; its argument has another type and shape than its result."""

    def turn(state):
        number, sum_82 = state
        argument_8 = jnp.arange(8, dtype=jnp.int32) + number
        return number + 1, sum_82 + call_host(function, RESULT, argument_8)

    return jax.jit(lambda: jax.lax.while_loop(lambda state: state[0] < turns, turn, (0, jnp.zeros((8, 2), jnp.uint32))))


def squared(argument_8):
    assert type(argument_8) is np.ndarray
    assert argument_8.dtype == np.int32
    return np.stack([argument_8, argument_8**2], axis=1).astype(np.uint32)


def test_a_loop_calls_once_a_turn():
    _, found = looped(squared)()
    np.testing.assert_array_equal(found, sum(squared(np.arange(8, dtype=np.int32) + number) for number in range(5)))


def test_one_device_does_without_jax_arrays(monkeypatch):
    monkeypatch.setattr(host_call, "io_callback", None)
    test_a_loop_calls_once_a_turn()


def test_several_devices_call_with_the_whole_array():
    calls = []

    def counted(argument_8):
        calls.append(argument_8.copy())
        return squared(argument_8)

    mesh = make_mesh(experiment(mesh={"data": 8}))
    sharded = NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        found = jax.jit(lambda x_8: call_host(counted, RESULT, x_8))(
            jax.device_put(np.arange(8, dtype=np.int32), sharded)
        )
        np.testing.assert_array_equal(found, squared(np.arange(8, dtype=np.int32)))
    assert [call.tolist() for call in calls] == [list(range(8))]


def test_a_function_that_raises_ends_the_program():
    def broken(argument_8):
        raise ValueError("no result")

    with pytest.raises(jax.errors.JaxRuntimeError, match="no result"):
        jax.block_until_ready(looped(broken)())
