"""Where each first value comes from, rule by rule; and which piece is which in another vocabulary."""

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
import pytest

from t2c_jax.checkpoints.partial_restore import Matching, extended, match_pieces, matched, settle
from t2c_jax.errors import UserError

SOURCE = {"encoder.tokens": (20, 4), "encoder.norm.scale": (4,)}
TARGET = {**SOURCE, "decoder.norm.scale": (8,), "embedding.embedding": (30, 8), "encoder.mix.scale": ()}


def settled(source, target, **options):
    """How each parameter is settled, in words."""
    matching = Matching(np.array([0, 1, -1]))
    return {one.path: one.in_words(matching) for one in settle(source, target, "'a'", **options)}


def test_whole_parts_and_the_mix_are_drawn_where_the_source_has_none():
    assert settled(SOURCE, TARGET) == {
        "decoder.norm.scale": "drawn",
        "embedding.embedding": "drawn",
        "encoder.mix.scale": "drawn",
        "encoder.norm.scale": "taken",
        "encoder.tokens": "taken",
    }
    assert set(settled(TARGET, TARGET).values()) == {"taken"}


@pytest.mark.parametrize(
    ("path", "there", "here", "words"),
    [
        ("encoder.positions", (5, 4), (8, 4), "rows 0-4 taken, 5-7 drawn"),
        ("decoder.blocks.up", (1, 4, 3), (2, 4, 3), "layers 0 taken, 1 drawn"),
        ("encoder.blocks.norm.scale", (4, 3), (6, 3), "layers 0-3 taken, 4-5 drawn"),
        ("decoder.bridge", (5, 4, 3), (5, 6, 3), "states 0-3 taken, 4-5 drawn"),
        ("decoder.bridge_bias", (2, 3), (3, 3), "states 0-1 taken, 2 drawn"),
    ],
)
def test_longer_positions_and_deeper_stacks_keep_what_the_source_has(path, there, here, words):
    assert settled({path: there}, {path: here}) == {path: words}
    with pytest.raises(UserError, match=r"here; make config.model as it is in the source's config.json"):
        settle({path: here}, {path: there}, "'a'")


def test_further_recurrent_layers_are_drawn_whole():
    source = {"decoder.layer_0.bias": (4,), "decoder.layer_0.input": (4, 4), "encoder.forward_0.bias": (4,)}
    further = {"decoder.layer_1.bias": (4,), "decoder.layer_1.input": (4, 4), "encoder.forward_1.bias": (4,)}
    assert settled(source, {**source, **further}) == {
        **dict.fromkeys(source, "taken"),
        **dict.fromkeys(further, "drawn"),
    }
    with pytest.raises(UserError, match=r"holds the parameter decoder.layer_1.bias, which this run's model has not"):
        settle({**source, **further}, source, "'a'")
    with pytest.raises(
        UserError, match=r"lacks the parameter decoder.layer_0.gate, though it has other parts of the dec"
    ):
        settle(source, {**source, "decoder.layer_0.gate": (4,)}, "'a'")


def test_heads_are_drawn_or_left_one_by_one():
    target = {"embedding.embedding": (3, 2), "heads.kind.kernel": (2,), "pointer.key": (2, 2)}
    source = {"embedding.embedding": (3, 2), "heads.other.kernel": (2,)}
    assert settled(source, target) == {
        "embedding.embedding": "taken",
        "heads.kind.kernel": "drawn",
        "pointer.key": "drawn",
        "heads.other.kernel": "left",
    }
    assert settled(target, {"embedding.embedding": (3, 2)})["pointer.key"] == "left"
    with pytest.raises(UserError, match=r"lacks the parameter heads.kind.bias, though it has other parts of the heads"):
        settle(target, {**target, "heads.kind.bias": (2,)}, "'a'")


def test_an_output_table_comes_from_the_embedding_where_that_was_both():
    target = {"embedding.embedding": (3, 2), "output": (3, 2)}
    _, output = settle({"embedding.embedding": (3, 2)}, target, "'a'", output_scale=0.5)
    assert (output.how, output.source, output.scale) == ("taken", "embedding.embedding", 0.5)
    assert output.in_words(None) == "taken, from embedding"
    own = settle(target, target, "'a'", output_scale=0.5)
    assert [one.scale for one in own] == [1.0, 1.0], "a source with an output table of its own is taken as it is"


def test_another_vocabulary_is_matched_where_it_is_asked_for_alone():
    source, target = {"embedding.embedding": (7, 2)}, {"embedding.embedding": (3, 2), "output": (3, 2)}
    assert settled(source, target, retrained=True) == {
        "embedding.embedding": "matched 2 of 3 pieces",
        "output": "matched 2 of 3 pieces, from embedding",
    }
    with pytest.raises(UserError, match=r"embedding.embedding is \[7, 2\] in 'a' and \[3, 2\] here"):
        settle(source, target, "'a'")
    with pytest.raises(UserError, match=r"embedding.embedding is \[7, 2\] in 'a' and \[3, 4\] here"):
        settle(source, {"embedding.embedding": (3, 4)}, "'a'", retrained=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({**SOURCE, "decoder.key": (4,)}, "'a' lacks the parameter decoder.norm.scale, though it has other parts"),
        ({**SOURCE, "output": (4, 2)}, "'a' holds the parameter output, which this run's model has not"),
        ({**SOURCE, "encoder.tokens": (21, 4)}, r"encoder.tokens is \[21, 4\] in 'a' and \[20, 4\] here"),
        ({**SOURCE, "encoder.tokens": (19, 4)}, r"encoder.tokens is \[19, 4\] in 'a' and \[20, 4\] here"),
        (
            {"encoder.tokens": (20, 4)},
            "'a' lacks the parameter encoder.norm.scale, though it has other parts of the encoder",
        ),
    ],
    ids=["a hole and no place", "no place", "fewer rows", "more rows", "a hole"],
)
def test_what_nothing_explains_is_refused(source, message):
    with pytest.raises(UserError, match=message):
        settle(source, TARGET, "'a'")


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


def test_pieces_are_matched_by_role_number_and_bytes():
    theirs = Pieces([b"def", b" x", b"a", b"a", b"\n"], bytes_from=8)  # rows 5 to 9; a as a piece, then as a byte
    ours = Pieces([b" x", b"new", b"<unk>", b"a", b"a", b"\n"], bytes_from=9, sentinels=[4, 3])
    # pad, eos, unk; the first sentinel has another id; a text's "<unk>" is none; a piece, a byte, a byte for a byte.
    expected = [0, 1, 2, 4, 3, 6, -1, -1, 7, 8, 9]
    found = match_pieces(ours, theirs)
    assert found.rows_V.tolist() == expected
    assert found.found == 9
    without_bytes = Pieces([b"a"])
    assert match_pieces(ours, without_bytes).rows_V.tolist() == [0, 1, 2, 4, 3, -1, -1, -1, 5, 5, -1]
    more_sentinels = Pieces([], sentinels=[3])
    assert match_pieces(Pieces([]), more_sentinels).rows_V.tolist() == [0, 1, 2, 3, -1]


def test_rows_without_a_piece_start_from_the_mean():
    table = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    found = matched(table, jnp.array([2, -1, 0, 2]))
    assert found.tolist() == [[5, 9], [3, 5], [1, 2], [5, 9]]
    assert extended(table[:1], -table).tolist() == [[1, 2], [-3, -4], [-5, -9]]
    assert extended(table[:, :1], -table, 1).tolist() == [[1, -2], [3, -4], [5, -9]]
