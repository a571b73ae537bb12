"""How an answer is run: the code around it, what it must pass, and the files that it finds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Execution:
    """What runs with an answer.

    The program is ``setup``, ``prefix``, the answer, ``suffix`` and ``test``. Without a test or a doctest, the answer
    has to do what the reference does: a query has to give the same rows, a script the same output and the same files.

    Attributes:
      setup: whole lines before the answer: imports, definitions; of SQL, the script that makes the database.
      prefix: text directly before the answer, such as the header of the function that the answer completes.
      suffix: text directly after the answer.
      test: whole lines after the answer. They fail by an error, or in a shell by an exit status.
      doctest: a docstring whose examples have to give their outputs.
      files: what is in the working directory, by relative path. A path that ends in ``/`` is an empty directory.
      stdin: standard input.
    """

    setup: str = ""
    prefix: str = ""
    suffix: str = ""
    test: str = ""
    doctest: str = ""
    files: Mapping[str, str] = field(default_factory=dict, hash=False)
    stdin: str = ""

    @property
    def has_tests(self) -> bool:
        """Whether tests decide; if not, the reference's result does."""
        return bool(self.test or self.doctest)

    def texts(self) -> list[str]:
        """All texts in it."""
        own = [self.setup, self.prefix, self.suffix, self.test, self.doctest, self.stdin]
        return [*own, *self.files, *self.files.values()]

    def completed(self, answer: str) -> str:
        """An answer with the text that it stands in."""
        return f"{self.prefix}{answer}{self.suffix}"

    def source(self, answer: str) -> str:
        """The program of an answer, doctest apart."""
        return f"{_lines(self.setup)}{self.completed(answer)}\n{_lines(self.test)}"

    def to_json(self) -> str:
        """As JSON text, without what is empty."""
        return json.dumps({name: value for name, value in dataclasses.asdict(self).items() if value})

    @classmethod
    def from_json(cls, text: str) -> Execution:
        """The inverse of ``to_json``."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values)


def _lines(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
