"""Reads and writes TFRecord files of ``tf.train.Example`` without TensorFlow, whose import takes seconds.

A record is its length (8 bytes, little-endian), the masked CRC-32C of the length (4 bytes), the data, and the masked
CRC-32C of the data (https://www.tensorflow.org/tutorials/load_data/tfrecord). TFDS has the message's definition.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file, in order.

    Raises:
      ValueError: the file is cut or a checksum differs.
    """
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            length, checksum = _unpacked(_HEADER, header)
            if _masked_crc(header[:8]) != checksum:
                raise ValueError(f"{path.name}: the checksum of a length differs")
            data, (checksum,) = file.read(length), _unpacked(_FOOTER, file.read(_FOOTER.size))
            if len(data) != length or _masked_crc(data) != checksum:
                raise ValueError(f"{path.name}: the checksum of a record differs")
            yield data


def write_record(file: BinaryIO, data: bytes) -> None:
    """Appends a record to a file."""
    length = len(data).to_bytes(8, "little")
    file.write(b"".join((length, _FOOTER.pack(_masked_crc(length)), data, _FOOTER.pack(_masked_crc(data)))))


def read_examples(path: Path) -> Iterator[dict[str, bytes | int]]:
    """The examples of a file whose features all are single byte strings or integers.

    Raises:
      ValueError: the file is damaged.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    for record in read_records(path):
        try:
            features: Any = tf_example_pb2.Example.FromString(record).features.feature
            yield {name: _only_value(feature) for name, feature in features.items()}
        except (DecodeError, IndexError) as error:
            raise ValueError(f"{path.name}: a record is no example") from error


def _only_value(feature: Any) -> bytes | int:
    kind = feature.WhichOneof("kind")
    value: bytes | int = getattr(feature, kind or "bytes_list").value[0]
    return value


def _unpacked(form: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) != form.size:
        raise ValueError("the file is cut")
    return form.unpack(data)


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
