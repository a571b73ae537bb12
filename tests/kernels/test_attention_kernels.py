"""The fused kernels against the plain formula, interpreted on the CPU, and which of them is taken where."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType
from tiny import experiment, make_mesh

from t2c_jax.errors import UserError
from t2c_jax.kernels import pallas_attention
from t2c_jax.kernels import single_block_attention as single_block_attention
from t2c_jax.kernels.attention import choose
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.kernels.pallas_attention import padded_single_block_attention, splash_attention
from t2c_jax.mesh import AXES
from t2c_jax.models.attention import attend

# Both sum the same float32 products in another order: a few units in the last place of the largest value.
TOLERANCE = 3e-6
SCALE = 0.5


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), jnp.float32)


def segments(rows, length):
    """Rows of segments 1, 2, 3 of random lengths, and padding."""
    ids = np.random.default_rng((rows, length)).integers(0, 4, (rows, length))
    return jnp.asarray(np.where(np.sort(-ids) == 0, 0, 4 + np.sort(-ids)), jnp.int32)


def plain(q, k, v, mask, bias, scale, softcap=0.0):
    return attend(q * scale, k, v, mask, bias=bias, kernel="xla", scale=1.0, softcap=softcap)


def splash(q, k, v, mask, bias, scale, softcap=0.0):
    assert bias is None
    return splash_attention(q, k, v, mask, scale, softcap)


def with_gradients(kernel, arrays, mask, d, *, scale=SCALE):
    """The output and the gradients of queries, keys, values and, if there is one, the bias."""

    def run(arrays, d):
        given = (*arrays, None)[:4]
        o, pull = jax.vjp(lambda q, k, v, bias: kernel(q, k, v, mask, bias, scale), *given)
        return o, [gradient for gradient in pull(d) if gradient is not None]

    return jax.jit(run)(arrays, d)


def assert_equal(kernel, arrays, mask, d):
    found, expected = with_gradients(kernel, arrays, mask, d), with_gradients(plain, arrays, mask, d)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * float(jnp.abs(other).max()))


@pytest.mark.parametrize("kernel", [padded_single_block_attention, splash], ids=["single_block", "splash"])
@pytest.mark.parametrize(
    ("queries", "keys", "causal"), [(40, 40, True), (7, 130, False)], ids=["packed causal", "cross, odd lengths"]
)
def test_output_and_gradients_are_the_plain_formulas(kernel, queries, keys, causal):
    q, k, v, d = drawn(2, queries, 2, 8), drawn(2, keys, 2, 8, seed=1), drawn(2, keys, 2, 8), drawn(2, queries, 2, 8)
    mask = AttentionMask(segments(2, queries), segments(2, keys), causal)
    assert set(np.unique(mask.query_segments_BT)) >= {0, 1, 2}  # padding, and more than one segment

    assert_equal(kernel, (q, k, v), mask, d)


@pytest.mark.parametrize("causal", [True, False])
def test_the_bias_gets_the_sum_of_its_gradients(monkeypatch, causal):
    monkeypatch.setattr(single_block_attention, "_blocks_that_fit", lambda *_: [128])  # two blocks of queries
    arrays = (drawn(3, 200, 2, 8), drawn(3, 200, 2, 8, seed=1), drawn(3, 200, 2, 8, seed=2), drawn(1, 2, 200, 200))

    assert_equal(
        padded_single_block_attention,
        arrays,
        AttentionMask(*[segments(3, 200)] * 2, causal),
        drawn(3, 200, 2, 8, seed=3),
    )


def test_heads_share_lanes_and_blocks():
    """Four heads of 64 are two blocks of two."""
    arrays = (drawn(1, 16, 4, 64), drawn(1, 16, 4, 64, seed=1), drawn(1, 16, 4, 64, seed=2))

    assert_equal(
        padded_single_block_attention, arrays, AttentionMask(*[segments(1, 16)] * 2), drawn(1, 16, 4, 64, seed=3)
    )


def test_splash_attention_in_several_blocks(monkeypatch):
    """Two blocks of keys: the gradient of the queries is a kernel of its own."""
    monkeypatch.setattr(pallas_attention, "_LONGEST_BLOCK", 128)
    arrays = (drawn(1, 200, 1, 8), drawn(1, 200, 1, 8, seed=1), drawn(1, 200, 1, 8, seed=2))

    assert_equal(splash, arrays, AttentionMask(*[segments(1, 200)] * 2, causal=True), drawn(1, 200, 1, 8, seed=3))


@pytest.mark.parametrize("kernel", [padded_single_block_attention, splash], ids=["single_block", "splash"])
def test_half_precision_stays_near_float32(kernel):
    """Sums are float32; what is left is rounding, by 2**-9 at most: of weights, their gradients and results, and in
    splash attention of the output that its gradients start from. 2**-6 leaves room for four in a row, and 2."""
    whole = [drawn(1, 16, 2, 8, seed=seed) for seed in range(4)]
    *arrays, d = (x.astype(jnp.bfloat16) for x in whole)
    mask = AttentionMask(*[segments(1, 16)] * 2, causal=True)

    found, expected = (
        with_gradients(kernel, tuple(arrays), mask, d),
        with_gradients(plain, tuple(x.astype(jnp.float32) for x in arrays), mask, d.astype(jnp.float32)),
    )

    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=0, atol=2**-6 * float(jnp.abs(other).max()))


@pytest.mark.parametrize("kernel", [padded_single_block_attention, splash], ids=["single_block", "splash"])
def test_queries_in_the_middle_of_a_row(kernel):
    arrays = (drawn(1, 8, 1, 8), drawn(1, 24, 1, 8, seed=1), drawn(1, 24, 1, 8, seed=2))
    ones = jnp.ones((1, 24), jnp.int32)

    assert_equal(
        kernel, arrays, AttentionMask(ones[:, :8], ones, causal=True, first_query=16), drawn(1, 8, 1, 8, seed=3)
    )


@pytest.mark.parametrize("kernel", [padded_single_block_attention, splash], ids=["single_block", "splash"])
def test_padding_that_sees_nothing_harms_nobody(kernel):
    """The decoder's padding, where the encoder's row has none; no loss reads it, so nothing comes back to it."""
    arrays = (drawn(1, 8, 1, 8), drawn(1, 128, 1, 8, seed=1), drawn(1, 128, 1, 8, seed=2))
    query_segments = jnp.asarray([[1, 1, 1, 2, 2, 0, 0, 0]], jnp.int32)
    key_segments = jnp.asarray([[1] * 100 + [2] * 28], jnp.int32)
    d = drawn(1, 8, 1, 8, seed=3) * (query_segments > 0)[:, :, None, None]

    assert_equal(kernel, arrays, AttentionMask(query_segments, key_segments), d)


def naive(q, k, v, mask, bias, scale, softcap):
    """The definition: a mask of places, a head of keys for each of queries, and no blocks."""
    assert bias is None
    k, v = (jnp.repeat(x, q.shape[2] // x.shape[2], axis=2) for x in (k, v))
    scores = jnp.einsum("bthk,bshk->bhts", q * scale, k)
    scores = softcap * jnp.tanh(scores / softcap) if softcap else scores
    place = mask.first_query + jnp.arange(q.shape[1])[:, None]
    key = jnp.arange(k.shape[1])[None, :]
    before, after = mask.window or (10_000, 10_000)
    near = (key >= place - before) & (key <= place + (0 if mask.causal else after))
    if mask.own_keys is not None:
        near |= key >= mask.own_keys
    seen = near[None] & (mask.query_segments_BT[:, :, None] == mask.key_segments_BS[:, None])
    return jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(jnp.where(seen[:, None], scores, -1e9), axis=-1), v)


BANDS = {
    "causal window": {"window": (30, 0), "causal": True},
    "lopsided window": {"window": (5, 40)},
    "only itself and behind": {"window": (0, 3)},
    "merged": {"causal": True, "own_keys": 150},
    "merged window": {"causal": True, "window": (30, 0), "own_keys": 150},
    "middle of a row": {"causal": True, "window": (20, 0), "first_query": 37},
}


@pytest.mark.parametrize("softcap", [0.0, 1.5])
@pytest.mark.parametrize("form", BANDS.values(), ids=BANDS)
@pytest.mark.parametrize(
    "kernel", [plain, padded_single_block_attention, splash], ids=["xla", "single_block", "splash"]
)
def test_windows_soft_caps_and_shared_heads(kernel, form, softcap, monkeypatch):
    """Two heads of keys for four of queries, two blocks of queries and of keys, and a soft-cap that bites."""
    monkeypatch.setattr(pallas_attention, "_LONGEST_BLOCK", 128)
    queries = 150
    keys = queries + (70 if "own_keys" in form else 37 if "first_query" in form else 0)
    q, d = drawn(1, queries, 4, 8), drawn(1, queries, 4, 8, seed=3)
    k, v = drawn(1, keys, 2, 8, seed=1), drawn(1, keys, 2, 8, seed=2)
    of_rows = segments(1, keys if "first_query" in form else queries)
    key_segments = of_rows
    if "own_keys" in form:
        key_segments = jnp.concatenate([of_rows, segments(1, 70)], axis=1)
    query_segments = of_rows[:, form.get("first_query", 0) :]
    d = d * (query_segments > 0)[:, :, None, None]  # padding that sees nothing: no loss reads it
    mask = AttentionMask(query_segments, key_segments, **form)

    def capped(of):
        return functools.partial(of, softcap=softcap)

    one, other = (with_gradients(capped(of), (q, k, v), mask, d) for of in (kernel, naive))

    there = (query_segments > 0)[:, :, None, None]
    for x, y in zip((one[0] * there, *one[1]), (other[0] * there, *other[1]), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=TOLERANCE * float(jnp.abs(y).max()))


def test_on_a_mesh_each_device_has_its_rows_and_heads():
    arrays = (drawn(4, 8, 4, 8), drawn(4, 12, 4, 8, seed=1), drawn(4, 12, 4, 8, seed=2), drawn(1, 4, 8, 12))
    mask, d = AttentionMask(segments(4, 8), segments(4, 12)), drawn(4, 8, 4, 8, seed=3)
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}, data={"batch_size": 8}))

    with jax.set_mesh(mesh):
        found = with_gradients(padded_single_block_attention, arrays, mask, d)

    assert {shard.data.shape for shard in found[0].addressable_shards} == {(1, 8, 2, 8)}
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(with_gradients(plain, arrays, mask, d)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * float(jnp.abs(other).max()))


def on(platform, sizes=(1, 1, 1)):
    """A mesh of devices that need not be here."""
    device = AbstractDevice(device_kind=platform, num_cores=1, platform=platform)
    return jax.sharding.use_abstract_mesh(
        AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, abstract_device=device)
    )


def chosen(asked="auto", *, batch=8, queries=512, keys=512, heads=8, head_width=64, dtype=jnp.bfloat16, **also):
    q = SimpleNamespace(shape=(batch, queries, heads, head_width), dtype=jnp.dtype(dtype))
    return choose(asked, q, SimpleNamespace(shape=(batch, keys, heads, head_width)), **{"biased": False, **also})


@pytest.mark.parametrize(
    ("platform", "case", "kernel"),
    [
        ("tpu", {}, "single_block"),
        ("tpu", {"biased": True}, "single_block"),
        ("tpu", {"queries": 2048, "keys": 2048}, "splash"),
        ("tpu", {"queries": 1024, "keys": 1024, "biased": True}, "xla"),
        ("tpu", {"head_width": 80}, "splash"),
        ("tpu", {"queries": 127}, "xla"),
        ("tpu", {"asked": "pallas", "queries": 127}, "single_block"),
        ("tpu", {"asked": "xla"}, "xla"),
        ("gpu", {"biased": True}, "cudnn"),
        ("gpu", {"softcap": 50.0}, "xla"),
        ("gpu", {"head_width": 256}, "xla"),
        ("gpu", {"dtype": jnp.float32}, "xla"),
        ("gpu", {"head_width": 36}, "xla"),
        ("cpu", {}, "xla"),
        ("cpu", {"asked": "pallas"}, "single_block"),
    ],
    ids=str,
)
def test_which_kernel_is_selected(platform, case, kernel):
    with on(platform):
        assert chosen(**case) == kernel


def test_which_kernel_is_selected_on_a_mesh():
    with on("tpu", (2, 2, 2)):
        assert chosen() == "single_block"
        assert chosen(heads=2) == "single_block"  # one head of 64 on each device
        assert chosen(batch=6) == "xla"  # which four devices cannot share
        assert chosen(heads=9) == "xla"


def test_a_kernel_of_another_platform_is_refused():
    with pytest.raises(UserError, match="attention=cudnn does not run on a cpu; set it to auto"):
        chosen("cudnn")
    with on("gpu"), pytest.raises(UserError, match="attention=pallas does not run on a gpu"):
        chosen("pallas")


@pytest.mark.parametrize("softcap", [0.0, 50.0])
@pytest.mark.parametrize(
    "form", [{"causal": True, "window": (511, 0)}, {"window": (255, 256)}, {"causal": True, "own_keys": 512}], ids=str
)
@pytest.mark.parametrize(
    ("platform", "asked", "length", "head_width", "names"),
    [
        ("tpu", "auto", 512, 256, ["single_block_attention_forward", "single_block_attention_backward"]),
        ("tpu", "auto", 2048, 256, ["splash_mha_fwd", "splash_mha_dkv"]),
        ("cuda", "auto", 512, 256, []),  # a program with cuDNN's needs the library
    ],
    ids=["TPU, short", "TPU, long", "GPU, wide heads"],
)
def test_programs_for_accelerators_have_the_kernel_and_lower(platform, asked, length, head_width, names, form, softcap):
    """Forward and backward, for chips that are not here; a soft-cap is XLA's on a GPU."""
    form = {**form, **({"own_keys": length} if "own_keys" in form else {})}
    keys = length + (512 if "own_keys" in form else 0)
    q, k = (jax.ShapeDtypeStruct((2, n, heads, head_width), jnp.bfloat16) for n, heads in ((length, 4), (keys, 2)))
    query_ids, key_ids = (jax.ShapeDtypeStruct((2, n), jnp.int32) for n in (length, keys))

    def loss(q, k, v, query_ids, key_ids):
        o = attend(q, k, v, AttentionMask(query_ids, key_ids, **form), kernel=asked, softcap=softcap)
        return jnp.sum(o.astype(jnp.float32))

    with on("tpu" if platform == "tpu" else "gpu"):
        program = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
        text = jax.export.export(program, platforms=[platform])(q, k, k, query_ids, key_ids).mlir_module()
    assert all(name in text for name in names)
    assert ("tpu_custom_call" in text) == bool(names)
