"""Every parameter has a rule, and lies where the rules say."""

import json
import os
from dataclasses import replace

import jax
import pytest
from flax import nnx
from tiny import (
    CAPPED,
    DATA,
    MERGED,
    MODEL,
    T5,
    VOCABULARY,
    batch,
    both,
    compiled_on,
    decoder,
    encoder,
    experiment,
    make_mesh,
)

from t2c_jax import mesh as meshes
from t2c_jax.config import OptimizerConfig
from t2c_jax.errors import UserError
from t2c_jax.models import seq2seq
from t2c_jax.models.definition import Definition, count, names
from t2c_jax.models.transformer import blocks

MESHES = {
    "data=8": {"data": 8, "fsdp": 1, "tensor": 1},
    "fsdp=8": {"data": 1, "fsdp": 8, "tensor": 1},
    "data=2 fsdp=2 tensor=2": {"data": 2, "fsdp": 2, "tensor": 2},
}
WHOLE = replace(T5, tied_embeddings=False)  # every parameter that a Transformer can have
OTHERS = {"bart": replace(MODEL, **both("bart")), "modernbert": replace(MODEL, encoder=encoder("modernbert"))}


def specs(definition, mesh):
    def axes(part):
        return part if part is None or isinstance(part, str) else "+".join(part)

    leaves = jax.tree_util.tree_leaves_with_path(definition.shardings(mesh))
    return {".".join(names(path)): " ".join(str(axes(part) or "-") for part in leaf.spec) for path, leaf in leaves}


def residual_streams(mesh, monkeypatch):
    """Where XLA lays each residual stream that the blocks hand on, as found in the compiled model."""
    found = {}

    def watched(x, *logical):
        x = meshes.constrain(x, *logical)
        if "length" in logical:
            where = "decoder" if x.shape[1] == DATA.decoder_length else "encoder"
            seen = found.setdefault(where, set())
            jax.debug.inspect_array_sharding(
                x, callback=lambda sharding: seen.add("x".join(map(str, sharding.shard_shape(x.shape))))
            )
        return x

    definition = Definition(replace(WHOLE, **both("t5", layers=1), scan=False), VOCABULARY)
    params = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        definition.abstract_params(),
        definition.shardings(mesh),
    )
    with monkeypatch.context() as patched, jax.set_mesh(mesh):
        patched.setattr(blocks, "constrain", watched)
        predict = jax.jit(lambda params, values: definition.bind(params).predict(values).states_BTD)
        predict.lower(params, meshes.global_batch(batch(), mesh)).compile()
    return {f"residual stream, {side}": " ".join(sorted(shapes)) for side, shapes in sorted(found.items())}


def test_golden_shardings(repository, monkeypatch):
    """Parameters by their axes; of the residual stream, 8 rows x 16 or 24 x 16, what one device holds."""
    found = {}
    for name, sizes in MESHES.items():
        mesh = make_mesh(experiment(mesh=sizes))
        found[name] = specs(Definition(WHOLE, VOCABULARY), mesh) | residual_streams(mesh, monkeypatch)
        for kind, model in {"T5Gemma 2": MERGED, "T5Gemma": CAPPED}.items():
            found[f"{kind}, {name}"] = specs(Definition(model, VOCABULARY), mesh)
        found |= {f"{other}, {name}": specs(Definition(model, VOCABULARY), mesh) for other, model in OTHERS.items()}
    path = repository / "tests" / "golden" / "shardings.json"
    if os.environ.get("T2C_REFRESH_GOLDENS") == "1":
        path.write_text(json.dumps(found, indent=1) + "\n")
    assert json.loads(path.read_text()) == found


@pytest.mark.usefixtures("own_programs")
@pytest.mark.parametrize("sizes", MESHES.values(), ids=MESHES)
def test_arrays_lie_where_the_rules_say(sizes):
    """Parameters and moments are really split: each device holds its share and no more."""
    config = experiment(mesh=sizes)
    compiled = compiled_on(make_mesh(config), config)
    state = compiled.init()
    query = state["params"]["encoder"]["blocks"]["attention"]["query"]
    layers, width, heads, head_width = query.shape
    share = (layers, width // sizes["fsdp"], heads // sizes["tensor"], head_width)
    assert {shard.data.shape for shard in query.addressable_shards} == {share}
    moment = state["opt_state"]["adam"].mu["encoder"]["blocks"]["attention"]["query"]
    assert moment.sharding == query.sharding
    for leaf, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(compiled.shardings), strict=True):
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)


@pytest.mark.usefixtures("own_programs")
def test_adafactors_factored_moments_have_shardings():
    config = replace(experiment(mesh=MESHES["fsdp=8"]), optimizer=OptimizerConfig(name="adafactor"))
    compiled = compiled_on(make_mesh(config), config)
    assert len(jax.tree.leaves(compiled.init())) == len(jax.tree.leaves(compiled.shardings))


def test_a_parameter_without_names_is_an_error(monkeypatch):
    class Unnamed(seq2seq.Seq2Seq):
        def __init__(self, *args, rngs, **kwargs):
            super().__init__(*args, rngs=rngs, **kwargs)
            self.stray = nnx.Param(jax.numpy.zeros((3,)))

    monkeypatch.setattr("t2c_jax.models.definition.Seq2Seq", Unnamed)
    with pytest.raises(KeyError, match="parameter stray says nothing of itself"):
        Definition(MODEL, 31).axis_names()


def test_a_name_without_a_rule_is_an_error():
    with pytest.raises(KeyError, match=r"'nowhere' has no rule: add one to mesh\.RULES"):
        meshes.partition_spec(("embed", "nowhere"))


def test_a_parameter_that_the_mesh_does_not_divide():
    """An LSTM of 12 units over eight devices: nothing in the Transformers' config says that it does not fit."""
    model = replace(MODEL, encoder=encoder("lstm"), decoder=decoder(num_heads=8))
    mesh = make_mesh(experiment(mesh={"tensor": 8}, model=both(num_heads=8)))
    with pytest.raises(UserError, match=r"encoder\..* has an axis that is not divisible by config\.mesh\.tensor=8"):
        Definition(model, VOCABULARY).shardings(mesh)


def test_count_and_abstract_parameters_agree_with_initial_ones():
    definition = Definition(WHOLE, VOCABULARY)
    drawn = definition.init(jax.random.key(0))
    assert count(drawn) == count(definition.abstract_params())
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), drawn)
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), definition.abstract_params())
    assert jax.tree.structure(drawn) == jax.tree.structure(
        definition.shardings(make_mesh(experiment(mesh=MESHES["data=8"])))
    )
