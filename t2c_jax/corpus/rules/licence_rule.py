"""Whether a licence expression is allowed by config.corpus.licences."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from t2c_jax.errors import UserError


@functools.cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing  # 0.1 s, and only where a list is given

    return get_spdx_licensing()


class LicenceRule:
    """An allow list of SPDX identifiers.

    Of alternatives (``MIT OR GPL-3.0-only``) one has to be allowed, of licences that hold together (``AND``) all. A
    licence with an exception is allowed where the licence is, or where both are listed as one. ``GPL-3.0-or-later`` is
    allowed where ``GPL-3.0-only`` is, and old identifiers such as ``GPL-3.0`` and ``GPL-3.0+`` mean these.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        """Reads the list.

        Raises:
          UserError: an entry is no licence.
        """
        from license_expression import ExpressionError

        self._allowed = set()
        for name in allowed:
            try:
                parsed = _licensing().parse(name, validate=True, strict=True)
            except ExpressionError as error:
                raise UserError(f"config.corpus.licences: '{name}' is no SPDX identifier: {error}") from None
            self._allowed.add(str(parsed))
        self._known: dict[str, bool] = {}

    def allows(self, expression: str) -> bool:
        """Whether code under this licence may be kept; not where the licence is unknown."""
        if expression not in self._known:
            self._known[expression] = self._evaluate(expression)
        return self._known[expression]

    def _evaluate(self, expression: str) -> bool:
        from license_expression import AND, OR, ExpressionError, LicenseWithExceptionSymbol

        def holds(part: Any) -> bool:
            if isinstance(part, OR):
                return any(map(holds, part.args))
            if isinstance(part, AND):
                return all(map(holds, part.args))
            if isinstance(part, LicenseWithExceptionSymbol):
                return str(part) in self._allowed or holds(part.license_symbol)
            name = str(part)
            return name in self._allowed or name.replace("-or-later", "-only") in self._allowed

        try:
            parsed = _licensing().parse(expression)
        except ExpressionError:
            return False
        return parsed is not None and holds(parsed)
