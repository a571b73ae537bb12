"""Muon against its formulas, written out in numpy, for every kind of kernel; and what AdamW updates beside it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import MODEL, VOCABULARY, assert_close, both, compiled_on, drawn, encoder, experiment, flat, make_mesh

from t2c_jax.config import OptimizerConfig
from t2c_jax.models.definition import Definition
from t2c_jax.models.parameters import ParameterInfo
from t2c_jax.train.muon import is_orthogonalized
from t2c_jax.train.optimizer import Optimizer, learning_rate_multipliers, update_rule

CONFIG = OptimizerConfig(name="muon", weight_decay=0.0, clip_norm=0.0, beta1=0.9, beta2=0.98)
LAYERS = {"stack": "decoder.blocks", "layers": (0, 1), "depth": 2}
KINDS = {
    "up": ((6, 10), ParameterInfo(("embed", "mlp"), "kernel", part="decoder")),
    "down": ((6, 10), ParameterInfo(("embed", "mlp"), "kernel", output_first=True)),
    "tall": ((10, 6), ParameterInfo(("embed", "mlp"), "kernel")),
    "heads": ((2, 6, 2, 5), ParameterInfo(("layers", "embed", "heads", "head_width"), "kernel", **LAYERS)),
    "gates": ((6, 3, 5), ParameterInfo(("embed", "gates", "recurrent"), "kernel")),
}


def matrices(name, array):
    """The matrices of a kernel, each with its input's side first, as a list."""
    if name == "heads":
        return [layer.reshape(6, 10) for layer in array]
    if name == "gates":
        return [array[:, gate] for gate in range(3)]
    return [array.T if name == "down" else array]


def orthogonalized(matrix):
    """Jordan et al. (2024): five quintic Newton-Schulz steps on the wide matrix of Frobenius norm one."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / np.linalg.norm(wide)
    for _ in range(5):
        square = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def reference(gradients):
    """The directions of Nesterov momentum 0.95, orthogonalised, at a root mean square of about 0.2 (Liu et al. 2025,
    equation 4). The scale of a momentum does not matter to its orthogonalisation."""
    momentum, found = np.zeros_like(gradients[0]), []
    for step, gradient in enumerate(gradients, 1):
        momentum = 0.95 * momentum + 0.05 * gradient
        # As optax has it: both terms without their bias, the momentum's as of the next step.
        nesterov = 0.95 * momentum / (1 - 0.95 ** (step + 1)) + 0.05 * gradient / (1 - 0.95**step)
        found.append(orthogonalized(nesterov) * 0.2 * max(gradient.shape) ** 0.5)
    return found


def directions(info, gradients):
    rule = update_rule(CONFIG, info)
    params = jax.tree.map(jnp.zeros_like, gradients[0])
    state, found = rule.init(params), []
    for gradient in gradients:
        direction, state = rule.update(gradient, state, params)
        found.append(jax.device_get(direction))
    return found, state


@pytest.mark.parametrize("name", KINDS)
def test_directions_by_the_published_formulas(name):
    """Each layer and each gate is a matrix of its own; heads and their width are one side of it."""
    shape, info = KINDS[name]
    draw = np.random.default_rng(0)
    gradients = [draw.normal(size=shape).astype(np.float32) * size for size in (1.0, 30.0, 0.01)]
    found, _ = directions({"decoder": {name: info}}, [{"decoder": {name: one}} for one in gradients])
    given = zip(*(matrices(name, one) for one in gradients), strict=True)  # by matrix, then by step
    expected = [np.stack(step) for step in zip(*(reference(steps) for steps in given), strict=True)]
    for parts, step in zip(expected, found, strict=True):
        # Float32 against float64 through 15 products, of directions of size 0.2.
        np.testing.assert_allclose(np.stack(matrices(name, step["decoder"][name])), parts, rtol=0, atol=2e-5)


def test_a_scanned_stack_is_updated_as_its_layers_would_be():
    _, stacked = KINDS["heads"]
    single = ParameterInfo(stacked.axes[1:], "kernel")
    gradients = [np.random.default_rng(step).normal(size=(2, 6, 2, 5)).astype(np.float32) for step in range(2)]
    whole, _ = directions({"decoder": {"x": stacked}}, [{"decoder": {"x": one}} for one in gradients])
    for layer in range(2):
        alone, _ = directions({"decoder": {"x": single}}, [{"decoder": {"x": one[layer]}} for one in gradients])
        for step in range(2):
            np.testing.assert_allclose(
                whole[step]["decoder"]["x"][layer], alone[step]["decoder"]["x"], rtol=0, atol=1e-6
            )


def test_the_rest_is_adams():
    """Frozen parameters have no state of either kind."""
    info = {
        "embedding": {"embedding": ParameterInfo(("vocab", "embed"), "embedding")},
        "decoder": {"up": KINDS["up"][1], "scale": ParameterInfo(("norm",), "scale"), "frozen": KINDS["up"][1]},
        "output": ParameterInfo(("vocab", "embed"), "kernel", output_first=True),
    }
    draw = np.random.default_rng(0)
    gradients = jax.tree.map(lambda one: draw.normal(size=(6, 10)[: len(one.axes)]).astype(np.float32), info)
    gradients["decoder"]["frozen"] = None
    (found,), state = directions(info, [gradients])
    adam = optax.scale_by_adam(0.9, 0.98, 1e-8)
    expected = adam.update(gradients, adam.init(gradients))[0]
    for tree in (found, expected):
        del tree["decoder"]["up"]
    assert_close(found, expected, tolerance=1e-6)
    kept = flat(state)
    assert not [path for path in kept if "frozen" in path]
    assert {path.split(".mu.")[1] for path in kept if path.startswith("muon.") and ".mu." in path} == {"decoder.up"}
    assert sum(".mu." in path for path in kept) == 4


@pytest.mark.parametrize(
    ("model", "others"),
    [
        ({"copy": True, "output_heads": ("tagging", "embedding"), "tied_embeddings": False}, {"output"}),
        (both("lstm"), {"bridge_bias", "bias"}),
        ({"encoder": encoder("bert", mix_layers=True)}, {"weights", "key_bias"}),
    ],
    ids=["transformer, pointer and heads", "recurrent", "pretrained"],
)
def test_only_kernels_of_hidden_layers_are_orthogonalized(model, others):
    info = Definition(replace(MODEL, **model), VOCABULARY).parameter_info()
    config = replace(CONFIG, adam_share=0.5)
    shares = flat(learning_rate_multipliers(info, config))
    adams = {path for path, share in shares.items() if share == 0.5}
    muons = {path for path, share in shares.items() if share == 1.0}
    assert adams | muons == shares.keys()
    assert others | {"embedding"} <= {path.rsplit(".", 1)[-1] for path in adams}
    assert all(path.startswith(("encoder.", "decoder.")) for path in muons)
    assert not [path for path in muons if path.endswith(("bias", "scale", "table", "embedding", "weights", "score"))]
    kernels = {path for path in shares if path.endswith(("query", "up", "down", "state", "input"))}
    assert {path for path in kernels if not path.startswith(("pointer", "heads"))} <= muons


def test_the_share_of_adam_multiplies_other_rates():
    info = {"decoder": {"up": KINDS["heads"][1], "scale": ParameterInfo(("layers", "norm"), "scale", **LAYERS)}}
    config = OptimizerConfig(name="muon", adam_share=0.5, rates=("decoder[:1]=0.1",))
    found = learning_rate_multipliers(info, config)["decoder"]
    np.testing.assert_allclose(found["up"], [0.1, 1.0], rtol=1e-6)
    np.testing.assert_allclose(found["scale"], [0.05, 0.5], rtol=1e-6)
    assert learning_rate_multipliers(info, replace(config, name="adamw"))["decoder"]["scale"][1] == 1.0


def test_adapters_of_recurrent_gates_are_matrices():
    """An adapter has all gates as one side."""
    assert is_orthogonalized(("decoder", "input", "b"), ParameterInfo((None, "gates"), "kernel"))
    assert is_orthogonalized(("decoder", "input", "a"), ParameterInfo(("embed", None), "kernel"))


def test_momentum_is_split_as_its_parameters_and_eight_devices_are_one():
    """The update alone: a gradient of a split model differs by rounding, which the iterations may enlarge."""
    config = experiment(optimizer={"name": "muon"}, mesh={"data": 2, "fsdp": 2, "tensor": 2})
    definition, params = drawn()
    optimizer = Optimizer(config.optimizer, definition.parameter_info())
    draw = np.random.default_rng(0)
    gradients = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), params)
    alone, alone_state = jax.jit(optimizer.updates)(gradients, optimizer.init(params), params, 1.0)
    compiled = compiled_on(make_mesh(config), config)
    laid = compiled.shardings["params"]
    update = jax.jit(optimizer.updates, out_shardings=(laid, compiled.shardings["opt_state"]))
    with jax.set_mesh(compiled.mesh):
        state = jax.device_put(optimizer.init(params), compiled.shardings["opt_state"])
        split, split_state = update(jax.device_put(gradients, laid), state, jax.device_put(params, laid), 1.0)
    assert_close(split, alone, tolerance=2e-5)  # sums of products over devices, in another order
    assert_close(split_state, alone_state, tolerance=1e-6)
    momentum = compiled.shardings["opt_state"]["muon"].inner_state[0].mu
    kernels = flat(jax.tree.map(str, momentum))
    assert kernels["decoder.blocks.attention.query"] == str(laid["decoder"]["blocks"]["attention"]["query"])
    assert {"fsdp", "tensor"} <= set(laid["decoder"]["blocks"]["attention"]["query"].spec)
