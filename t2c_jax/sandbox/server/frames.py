"""Messages between the server and its parent: JSON documents behind their length."""

from __future__ import annotations

import json
import os
from typing import Any

_LENGTH_BYTES = 8


def send(descriptor: int, message: Any) -> None:
    """Writes one message.

    Raises:
      OSError: the other side is gone.
    """
    body = json.dumps(message).encode()
    rest = memoryview(len(body).to_bytes(_LENGTH_BYTES, "little") + body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> Any:
    """Reads one message.

    Raises:
      EOFError: the other side is gone.
    """
    return json.loads(_exactly(descriptor, int.from_bytes(_exactly(descriptor, _LENGTH_BYTES), "little")))


def _exactly(descriptor: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
