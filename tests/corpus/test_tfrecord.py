"""TFRecord without TensorFlow: a record written by hand, and every way in which a file may be damaged."""

import struct

import google_crc32c
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from t2c_jax.corpus.tfrecord import read_examples


def masked(data):
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)


def record(data):
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def example(text, line):
    made = tf_example_pb2.Example()
    made.features.feature["text"].bytes_list.value.append(text)
    made.features.feature["line"].int64_list.value.append(line)
    return made.SerializeToString()


@pytest.fixture
def content():
    return record(example("\u00e4".encode(), 3)) + record(example(b"", -1))


def test_examples_are_read_in_order(tmp_path, content):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    assert list(read_examples(path)) == [{"text": "\u00e4".encode(), "line": 3}, {"text": b"", "line": -1}]
    path.write_bytes(b"")
    assert list(read_examples(path)) == []


def test_every_cut_is_found(tmp_path, content):
    path = tmp_path / "a.tfrecord"
    first = len(record(example("\u00e4".encode(), 3)))
    for size in range(1, len(content)):
        path.write_bytes(content[:size])
        if size == first:  # between two records: whoever knows their number finds that
            continue
        with pytest.raises(ValueError, match=r"cut|checksum"):
            list(read_examples(path))


def test_every_flipped_byte_is_found(tmp_path, content):
    path = tmp_path / "a.tfrecord"
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"cut|checksum"):
            list(read_examples(path))


def test_a_record_that_is_no_example_is_found(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(record(b"\xff\xff"))
    with pytest.raises(ValueError, match="no example"):
        list(read_examples(path))
