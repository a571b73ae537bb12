"""Where each first value comes from, rule by rule; and which piece is which in another vocabulary."""

from dataclasses import dataclass, field, replace

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MODEL, decoder, encoder

from t2c_jax.checkpoints import partial_restore
from t2c_jax.checkpoints.partial_restore import VocabularyMap, extend, map_vocabulary, remap
from t2c_jax.checkpoints.pytrees import flatten
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Definition
from t2c_jax.models.parameters import ParameterInfo

SOURCE = {"encoder.tokens": (20, 4), "encoder.norm.scale": (4,)}
TARGET = {**SOURCE, "decoder.norm.scale": (8,), "embedding.embedding": (30, 8), "encoder.mix.scale": ()}


def known(path, shape):
    """What a model says of such a parameter."""
    axes = (None,) * len(shape)
    part = {"heads": 2, "encoder.mix": 2, "decoder.layer": 2, "encoder.forward": 2}
    names = path.split(".")
    levels = next((count for start, count in part.items() if path.startswith(start)), 1)
    info = ParameterInfo(axes, "kernel", part=".".join(names[:levels]))
    if names[-1] == "positions":
        return replace(info, kind="positions", extendable=0)
    if names[0] in ("embedding", "output"):
        return replace(info, axes=("vocab", "embed"))
    if "blocks" in names:
        return replace(info, stack=f"{names[0]}.blocks", extendable=0)
    return replace(info, extendable={"bridge": 1, "bridge_bias": 0}.get(names[-1]))


def plan(source, target, **options):
    info = {path: known(path, shape) for path, shape in target.items()}
    return partial_restore.plan(source, target, info, "'a'", **options)


def planned(source, target, **options):
    """The transfer of each parameter, in words."""
    vocabulary = VocabularyMap(np.array([0, 1, -1]))
    return {one.path: one.describe(vocabulary) for one in plan(source, target, **options)}


def test_the_metadata_of_a_real_model_gives_the_same_plan():
    """The stand-in above agrees with models on what this module reads."""
    bert = replace(MODEL, encoder=encoder("bert", mix_layers=True), decoder=decoder("lstm"), output_heads=("tagging",))
    for path, info in flatten(Definition(bert, 32).parameter_info()).items():
        expected = known(path, info.axes)
        assert (info.part, info.extendable) == (expected.part, expected.extendable), path
        assert (info.kind == "positions") == (expected.kind == "positions")
        assert bool(info.stack) == bool(expected.stack) or path.startswith("decoder.layer")


def test_whole_parts_and_the_mix_are_initialised_where_the_source_has_none():
    assert planned(SOURCE, TARGET) == {
        "decoder.norm.scale": "initialised",
        "embedding.embedding": "initialised",
        "encoder.mix.scale": "initialised",
        "encoder.norm.scale": "copied",
        "encoder.tokens": "copied",
    }
    assert set(planned(TARGET, TARGET).values()) == {"copied"}


@pytest.mark.parametrize(
    ("path", "there", "here", "words"),
    [
        ("encoder.positions", (5, 4), (8, 4), "rows 0-4 copied, 5-7 new"),
        ("decoder.blocks.up", (1, 4, 3), (2, 4, 3), "layers 0 copied, 1 new"),
        ("encoder.blocks.norm.scale", (4, 3), (6, 3), "layers 0-3 copied, 4-5 new"),
        ("decoder.bridge", (5, 4, 3), (5, 6, 3), "states 0-3 copied, 4-5 new"),
        ("decoder.bridge_bias", (2, 3), (3, 3), "states 0-1 copied, 2 new"),
    ],
)
def test_longer_positions_and_deeper_stacks_extend_the_source(path, there, here, words):
    assert planned({path: there}, {path: here}) == {path: words}
    with pytest.raises(UserError, match=r"here; make config.model the same as in the origin's config.json"):
        plan({path: here}, {path: there})


def test_further_recurrent_layers_are_initialised_whole():
    source = {"decoder.layer_0.bias": (4,), "decoder.layer_0.input": (4, 4), "encoder.forward_0.bias": (4,)}
    further = {"decoder.layer_1.bias": (4,), "decoder.layer_1.input": (4, 4), "encoder.forward_1.bias": (4,)}
    assert planned(source, {**source, **further}) == {
        **dict.fromkeys(source, "copied"),
        **dict.fromkeys(further, "initialised"),
    }
    with pytest.raises(UserError, match=r"has the parameter decoder.layer_1.bias, which this run's model lacks"):
        plan({**source, **further}, source)
    with pytest.raises(
        UserError, match=r"lacks the parameter decoder.layer_0.gate, though it has other parts of the dec"
    ):
        plan(source, {**source, "decoder.layer_0.gate": (4,)})


def test_heads_are_initialised_or_dropped_one_by_one():
    target = {"embedding.embedding": (3, 2), "heads.kind.kernel": (2,), "pointer.key": (2, 2)}
    source = {"embedding.embedding": (3, 2), "heads.other.kernel": (2,)}
    assert planned(source, target) == {
        "embedding.embedding": "copied",
        "heads.kind.kernel": "initialised",
        "pointer.key": "initialised",
        "heads.other.kernel": "dropped",
    }
    assert planned(target, {"embedding.embedding": (3, 2)})["pointer.key"] == "dropped"
    with pytest.raises(UserError, match=r"lacks the parameter heads.kind.bias, though it has other parts of the heads"):
        plan(target, {**target, "heads.kind.bias": (2,)})


def test_an_output_table_comes_from_the_embedding_where_that_was_both():
    target = {"embedding.embedding": (3, 2), "output": (3, 2)}
    _, output = plan({"embedding.embedding": (3, 2)}, target, output_scale=0.5)
    assert (output.how, output.source, output.scale) == ("copied", "embedding.embedding", 0.5)
    assert output.describe(None) == "copied, from embedding"
    own = plan(target, target, output_scale=0.5)
    assert [one.scale for one in own] == [1.0, 1.0], "a source with an output table of its own is copied"


def test_another_vocabulary_is_remapped_only_where_the_tokenizer_is_new():
    source, target = {"embedding.embedding": (7, 2)}, {"embedding.embedding": (3, 2), "output": (3, 2)}
    assert planned(source, target, new_vocabulary=True) == {
        "embedding.embedding": "remapped 2 of 3 pieces",
        "output": "remapped 2 of 3 pieces, from embedding",
    }
    with pytest.raises(UserError, match=r"embedding.embedding is \[7, 2\] in 'a' and \[3, 2\] here"):
        plan(source, target)
    with pytest.raises(UserError, match=r"embedding.embedding is \[7, 2\] in 'a' and \[3, 4\] here"):
        plan(source, {"embedding.embedding": (3, 4)}, new_vocabulary=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({**SOURCE, "decoder.key": (4,)}, "'a' lacks the parameter decoder.norm.scale, though it has other parts"),
        ({**SOURCE, "output": (4, 2)}, "'a' has the parameter output, which this run's model lacks"),
        ({**SOURCE, "encoder.tokens": (21, 4)}, r"encoder.tokens is \[21, 4\] in 'a' and \[20, 4\] here"),
        ({**SOURCE, "encoder.tokens": (19, 4)}, r"encoder.tokens is \[19, 4\] in 'a' and \[20, 4\] here"),
        (
            {"encoder.tokens": (20, 4)},
            "'a' lacks the parameter encoder.norm.scale, though it has other parts of the encoder",
        ),
    ],
    ids=["a hole and no place", "no place", "fewer rows", "more rows", "a hole"],
)
def test_a_parameter_that_no_rule_explains_is_refused(source, message):
    with pytest.raises(UserError, match=message):
        plan(source, TARGET)


@dataclass
class Pieces:
    """A vocabulary: pad, eos, unk, then two sentinels, and what is given."""

    given: list[bytes]
    bytes_from: int = 1000
    eos: int = 1
    start: int = 0
    unk: int = 2
    sentinels: list[int] = field(default_factory=lambda: [3, 4])

    def __post_init__(self):
        self.surfaces = [b"", b"", b"<unk>", b"", b"", *self.given]
        self.vocab_size = len(self.surfaces)
        self.is_byte = np.arange(self.vocab_size) >= self.bytes_from


def test_pieces_are_paired_by_role_number_and_bytes():
    theirs = Pieces([b"def", b" x", b"a", b"a", b"\n"], bytes_from=8)  # rows 5 to 9; a as a piece, then as a byte
    ours = Pieces([b" x", b"new", b"<unk>", b"a", b"a", b"\n"], bytes_from=9, sentinels=[4, 3])
    # pad, eos, unk; the first sentinel has another id; a text's "<unk>" is none; a piece, a byte, a byte for a byte.
    expected = [0, 1, 2, 4, 3, 6, -1, -1, 7, 8, 9]
    found = map_vocabulary(ours, theirs)
    assert found.source_V.tolist() == expected
    assert found.found == 9
    without_bytes = Pieces([b"a"])
    assert map_vocabulary(ours, without_bytes).source_V.tolist() == [0, 1, 2, 4, 3, -1, -1, -1, 5, 5, -1]
    more_sentinels = Pieces([], sentinels=[3])
    assert map_vocabulary(Pieces([]), more_sentinels).source_V.tolist() == [0, 1, 2, 3, -1]


def test_rows_without_a_piece_start_from_the_mean():
    table = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    found = remap(table, jnp.array([2, -1, 0, 2]))
    assert found.tolist() == [[5, 9], [3, 5], [1, 2], [5, 9]]
    assert extend(table[:1], -table).tolist() == [[1, 2], [-3, -4], [-5, -9]]
    assert extend(table[:, :1], -table, 1).tolist() == [[1, -2], [3, -4], [5, -9]]
