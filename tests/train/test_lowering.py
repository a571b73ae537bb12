"""The train step lowers for accelerators that are not here. `jax.export` goes as far as their compiler's input."""

import jax
import numpy as np
import pytest
from jax import export
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import AbstractDevice, AbstractMesh, AxisType
from tiny import VOCABULARY, batch, both, experiment

from t2c_jax.mesh import AXES
from t2c_jax.models.definition import Definition
from t2c_jax.train.setup import trainable_of
from t2c_jax.train.step import make_train_step

LONG = {"encoder_length": 128, "decoder_length": 128}  # long enough for a fused kernel


def module(config, platform, kind, sizes=(1, 1, 1)):
    """The compiler's input for a train step on a mesh of such devices, and the dtypes of what comes out."""
    trainable = trainable_of(config, Definition(config.model, VOCABULARY))
    state, step = trainable.abstract_state, make_train_step(trainable, config.train, config.data)
    arrays = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch(config.data).items()}
    device = AbstractDevice(device_kind=kind, num_cores=1, platform={"cuda": "gpu"}.get(platform, platform))
    mesh = AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, abstract_device=device)
    # Of calls into cuDNN and of its partitioning jax promises nothing for later versions, and here wants nothing.
    unchecked = ("__cudnn$fmhaScaleBiasSoftmax", "__cudnn$fmhaScaleBiasSoftmaxBackward", "CustomSPMDPartitioning")
    with jax.sharding.use_abstract_mesh(mesh):
        exported = export.export(
            jax.jit(step),
            platforms=[platform],
            disabled_checks=[export.DisabledSafetyCheck.custom_call(name) for name in unchecked],
        )(state, arrays)
    assert exported.platforms == (platform,)
    return exported.mlir_module(), {leaf.dtype for leaf in exported.out_avals}


@pytest.mark.parametrize(("platform", "kind"), [("tpu", "TPU v5 lite"), ("cuda", "NVIDIA H100")])
@pytest.mark.parametrize("architecture", ["transformer", "t5"])
def test_train_step_lowers_for(monkeypatch, platform, kind, architecture):
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)
    config = experiment(
        model={**both(architecture), "dtype": "bfloat16", "dropout": 0.1}, train={"microbatches": 2}, data=LONG
    )

    text, out = module(config, platform, kind)

    assert "bf16" in text  # the compute dtype reached the products
    assert out <= {np.dtype("float32"), np.dtype("int32")}  # parameters and metrics stay float32
    # Three attentions: the encoder's, the decoder's and the one across, each in a loop over blocks.
    if platform == "tpu":
        assert text.count("@tpu_custom_call") == 6
        assert text.count('kernel_name = "single_block_attention_forward"') == 3
        assert text.count('kernel_name = "single_block_attention_backward"') == 3
    else:
        assert text.count("@__cudnn$fmhaScaleBiasSoftmax(") == 3
        assert text.count("@__cudnn$fmhaScaleBiasSoftmaxBackward(") == 3


def test_train_step_on_a_mesh_lowers_for_tpus():
    config = experiment(model={"dtype": "bfloat16"}, data=LONG, mesh={"data": 2, "fsdp": 2, "tensor": 2})

    text, _ = module(config, "tpu", "TPU v4", (2, 2, 2))

    assert text.count("@tpu_custom_call") == 6
    assert "tensor<2x128x8xbf16>" in text  # of 8 rows and 2 heads of 8: what a kernel on one device gets


def test_splash_attention_is_for_rows_too_long_to_hold():
    config = experiment(
        model={"dtype": "bfloat16", "remat": "full"}, data={"encoder_length": 1152, "decoder_length": 1152}
    )

    text, _ = module(config, "tpu", "TPU v4")

    for kernel in ("fwd_segmented_residuals", "dkv_segmented_no_residuals", "dq_segmented_no_residuals"):
        assert f'kernel_name = "splash_mha_{kernel}"' in text
    assert "single_block_attention" not in text
