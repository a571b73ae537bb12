"""Whether code is well-formed, by language. Nothing is compiled or run."""

from __future__ import annotations

from collections.abc import Callable

from t2c_jax.languages.aliases import canonical


def _python(code: str) -> bool:
    from t2c_jax.languages.python.parsing import parses_as_python

    return parses_as_python(code)


_PARSERS: dict[str, Callable[[str], bool]] = {"python": _python}


def parses(code: str, language: str) -> bool | None:
    """Whether the grammar of the language accepts the code; None for a language without a parser here.

    Args:
      code: blank code and code that holds only comments do not parse: they answer nothing.
      language: by any of its common names.
    """
    parser = _PARSERS.get(canonical(language))
    return None if parser is None else parser(code)
