"""Pieces of text that are never taken back, whatever the tokens and the stop strings are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2c_jax.decode.stop_strings import before_stop
from t2c_jax.serve.text_stream import TextStream


def decode(tokens):
    """A token is a byte, as those that a tokenizer falls back to."""
    return bytes(tokens).decode("utf-8", "replace")


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(
    text=st.text(alphabet="abé€😀\n", max_size=20),
    stop=st.lists(st.text(alphabet="abé", min_size=1, max_size=3), max_size=2),
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=40),
)
def test_the_pieces_are_the_text(text, stop, steps):
    stream, content, sent, count = TextStream(decode, stop), text.encode(), "", 0
    final = before_stop(text, stop)
    final = text if final is None else final
    for step in steps:
        count = min(count + step, len(content))
        sent += stream.piece(content[:count])
        assert final.startswith(sent)
    assert sent + stream.rest(final) == final


def test_what_was_sent_stays():
    stream = TextStream(decode, ())
    assert stream.piece(b"abc") == "abc"
    assert stream.piece(b"ab") == ""
    with pytest.raises(ValueError, match="begin"):
        stream.rest("ab")
