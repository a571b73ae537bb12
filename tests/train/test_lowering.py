"""The train step lowers for accelerators that are not here. `jax.export` goes as far as their compiler's input."""

import jax
import numpy as np
import pytest
from jax import export
from tiny import VOCABULARY, batch, experiment

from t2c_jax.models.functional import Definition
from t2c_jax.train.optimizer import make_optimizer
from t2c_jax.train.step import init_state, make_train_step


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("position", ["rope", "t5"])
def test_train_step_lowers_for(platform, position):
    config = experiment(model={"position": position, "dtype": "bfloat16", "dropout": 0.1}, train={"microbatches": 2})
    definition = Definition(config.model, VOCABULARY)
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    state = jax.eval_shape(lambda: init_state(definition, optimizer, config))
    arrays = {name: jax.ShapeDtypeStruct(rows.shape, rows.dtype) for name, rows in batch().items()}

    lowered = export.export(jax.jit(make_train_step(definition, optimizer, config)), platforms=[platform])(
        state, arrays
    )

    assert lowered.platforms == (platform,)
    assert "bf16" in lowered.mlir_module()  # the compute dtype reached the products
    out = {leaf.dtype for leaf in lowered.out_avals}
    assert out <= {np.dtype("float32"), np.dtype("int32")}  # parameters and metrics stay float32
