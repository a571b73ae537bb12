"""Secrets and personal data in pairs: replaced everywhere in a pair, or reported."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair
from t2c_jax.corpus.rules.finding import Finding, replaced
from t2c_jax.corpus.rules.personal_data import find_personal_data, substitute
from t2c_jax.corpus.rules.secrets import find_secrets

_READ_CHARS = 20_000  # of a pair that is shown
_Finder = Callable[[str], list[Finding]]


class Redaction:
    """What config.corpus.secrets and config.corpus.personal_data ask for."""

    def __init__(self, config: CorpusConfig) -> None:
        self._steps = [
            (choice == "drop", find, replacement)
            for choice, find, replacement in (
                (config.secrets, find_secrets, _placeholder),
                (config.personal_data, find_personal_data, substitute),
            )
            if choice != "keep"
        ]

    def __call__(self, pair: Pair) -> tuple[Pair, list[str], str]:
        """The pair without secrets and personal data, the kinds that were replaced, and the kind that drops it."""
        kinds: list[str] = []
        for drops, find, replacement in self._steps:
            texts = _texts(pair)
            found = {text: findings for text in texts if (findings := find(text))}
            if not found:
                continue
            rule = f"{next(iter(found.values()))[0].kind} in the pair"
            if drops:
                return pair, kinds, rule
            kinds += dict.fromkeys(finding.kind for findings in found.values() for finding in findings)
            pair = _with_texts(pair, {text: replaced(text, each, replacement) for text, each in found.items()})
        return pair, kinds, ""


def shown_to_people(pair: Pair) -> str:
    """Text and code of a pair that was dropped, without secrets and personal data."""
    shown = f"{pair.text}\n\n{pair.code}"[:_READ_CHARS].strip("\n")
    for find, replacement in ((find_secrets, _placeholder), (find_personal_data, substitute)):
        shown = replaced(shown, find(shown), replacement)
    return shown


def _placeholder(kind: str, secret: str) -> str:
    """A word that is valid wherever a key is; equal secrets have an equal one."""
    return "REDACTED_" + hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=3).hexdigest()


def _texts(pair: Pair) -> list[str]:
    """All that a pair holds of its source."""
    if pair.tests is None:
        return [pair.text, pair.code]
    tests = (getattr(pair.tests, field.name) for field in dataclasses.fields(pair.tests))
    return [pair.text, pair.code, *(text for text in tests if isinstance(text, str)), *pair.tests.files.values()]


def _with_texts(pair: Pair, new: dict[str, str]) -> Pair:
    tests = pair.tests
    if tests is not None:
        values = {field.name: getattr(tests, field.name) for field in dataclasses.fields(tests)}
        changed = {name: new.get(value, value) for name, value in values.items() if isinstance(value, str)}
        files = {name: new.get(text, text) for name, text in tests.files.items()}
        tests = dataclasses.replace(tests, **changed, files=files)
    return dataclasses.replace(
        pair, text=new.get(pair.text, pair.text), code=new.get(pair.code, pair.code), tests=tests
    )
