"""The table of tensors, without files: parts, copies, and what must be refused before memory is taken."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from stored_arrays import StoredArrays, read_arrays
from tiny import MODEL, assert_same, drawn, encoder

from t2c_jax.errors import UserError
from t2c_jax.interop import bert, gpt2, modernbert
from t2c_jax.interop.tensor_table import Layout, Tensor, read_params, write_params

FAMILIES = {"bert": bert, "gpt2": gpt2, "modernbert": modernbert}


def encoder_of(kind):
    config = replace(MODEL, encoder=encoder(kind))
    return config, {"encoder": jax.device_get(drawn(config)[1]["encoder"])}


@pytest.mark.parametrize("kind", FAMILIES)
def test_parameters_come_back_from_every_kind_of_row(kind):
    """Rows that are transposed, cut into heads, and parts of a tensor by columns (GPT-2) or by rows (ModernBERT)."""
    config, params = encoder_of(kind)
    tensors = write_params(FAMILIES[kind].tensors(config.encoder), params)
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())
    found, left = read_arrays(FAMILIES[kind], config, tensors)
    assert_same(found, params)
    assert not left


def test_parts_lie_side_by_side_among_the_outputs():
    """Queries, keys and values in one tensor: (inputs, outputs) in GPT-2, (outputs, inputs) in ModernBERT."""
    for kind, name, axis in (("gpt2", "h.1.attn.c_attn.weight", 1), ("modernbert", "layers.1.attn.Wqkv.weight", 0)):
        config, params = encoder_of(kind)
        whole = write_params(FAMILIES[kind].tensors(config.encoder), params)[name]
        attention = params["encoder"]["blocks"]["attention"]
        for part, ours in zip(np.split(whole, 3, axis), ("query", "key", "value"), strict=True):
            matrix = attention[ours][1 if kind == "gpt2" else 0].reshape(24, -1)
            np.testing.assert_array_equal(part, matrix if axis else matrix.T)


def test_a_parameter_or_a_layer_that_nothing_fills_is_refused():
    config, params = encoder_of("bert")
    table = list(bert.tensors(config.encoder))
    stored = StoredArrays(write_params(table, params))
    for missing in ("encoder.layer.1.output.dense.bias", "embeddings.LayerNorm.weight"):
        (path,) = (".".join(tensor.path) for tensor in table if tensor.name == missing)
        layout = Layout(table[0].name, [tensor for tensor in table if tensor.name != missing])
        with pytest.raises(UserError, match=f"parameters that no tensor fills: {path}$"):
            read_params(layout, config, stored)


def test_a_table_without_end_is_read_up_to_the_first_tensor_that_is_missing():
    config, params = encoder_of("bert")
    seen = []

    def table():
        for i in range(10**12):
            seen.append(i)
            yield Tensor(f"tensor.{i}", ("encoder", "tokens"))

    stored = StoredArrays({"tensor.0": params["encoder"]["tokens"]})
    with pytest.raises(UserError, match=r"lack the tensor 'tensor\.1', which a model of this config\.json has"):
        read_params(Layout("tensor.0", table()), config, stored)
    assert seen == [0, 1]
