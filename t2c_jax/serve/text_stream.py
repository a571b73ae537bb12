"""Tokens to pieces of text that are never taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from t2c_jax.data import placeholders

_INCOMPLETE = "\ufffd"  # what a tokenizer writes for bytes that are no character yet


class TextStream:
    """The text of one answer, piece by piece."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str], quoted: Sequence[str] = ()) -> None:
        """Nothing is sent yet.

        Args:
          decode: tokens to text.
          stop: texts before which the answer ends; a part of one is not sent before it is known to be none.
          quoted: what the names in the answer stand for (``data.placeholders``).
        """
        self._decode, self._stop, self._quoted, self._sent = decode, tuple(stop), tuple(quoted), ""

    def piece(self, tokens: Sequence[int]) -> str:
        """What can be sent now, given all tokens so far."""
        text = self._decode(tokens).rstrip(_INCOMPLETE)
        text = text[: self._safe(text)]
        if self._quoted:
            text = placeholders.with_texts(placeholders.certain(text), self._quoted)
        if len(text) <= len(self._sent) or not text.startswith(self._sent):
            return ""
        piece, self._sent = text[len(self._sent) :], text
        return piece

    def rest(self, text: str) -> str:
        """What is left to send of the final text.

        Raises:
          ValueError: what was sent does not begin it.
        """
        if not text.startswith(self._sent):
            raise ValueError("the final text does not begin with what was sent")
        return text[len(self._sent) :]

    def _safe(self, text: str) -> int:
        """How many characters are before every stop string, and before what may become one."""
        end = len(text)
        for stop in self._stop:
            place = text.find(stop)
            if place >= 0:
                end = min(end, place)
            for size in range(min(len(stop) - 1, len(text)), 0, -1):
                if text.endswith(stop[:size]):
                    end = min(end, len(text) - size)
                    break
        return end
