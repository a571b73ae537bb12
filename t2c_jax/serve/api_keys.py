"""Who may ask: API keys from a file, a key a line."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from t2c_jax.errors import UserError

_SHORTEST = 16  # characters: shorter ones are guessed


class ApiKeys:
    """Keys, of which only digests are kept."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Keeps their digests."""
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    @classmethod
    def read(cls, path: str) -> ApiKeys:
        """The keys of a file; empty lines and those that begin with # are none.

        Raises:
          UserError: it cannot be read, or holds no key or a short one.
        """
        try:
            lines = Path(path).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UserError(f"--api-keys '{path}' cannot be read: {what}") from None
        keys = {number: line.strip() for number, line in enumerate(lines, 1)}
        keys = {number: key for number, key in keys.items() if key and not key.startswith("#")}
        for number, key in keys.items():
            if len(key) < _SHORTEST or not key.isascii():
                raise UserError(f"{path}:{number}: a key has {_SHORTEST} ASCII characters or more; make one at random")
        if not keys:
            raise UserError(f"--api-keys '{path}' holds no key")
        return cls(list(keys.values()))

    def client(self, key: str) -> str | None:
        """A name for the holder of a key, which tells nothing of it; None where it is no key.

        It takes as long for every key, right or wrong.
        """
        digest, found = hashlib.sha256(key.encode("utf-8", "replace")).digest(), None
        for own in self._digests:
            if hmac.compare_digest(own, digest):
                found = f"key-{own.hex()[:8]}"
        return found
