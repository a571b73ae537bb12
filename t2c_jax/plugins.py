"""Parts that other installed packages register, such as metrics and architectures of their own.

A package names a module under the entry-point group ``t2c_jax.parts``. The module registers its parts when it is
imported, and ``t2c_jax/__init__.py`` imports it after the parts of this package. One that fails does not keep anybody
from importing ``t2c_jax``: whatever uses the library reports it (``check``).
"""

from __future__ import annotations

from importlib.metadata import entry_points

from t2c_jax.errors import UserError

GROUP = "t2c_jax.parts"
_failures: list[str] = []


def load() -> None:
    """Imports the modules that installed packages name; keeps what went wrong for ``check``."""
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # another package's code may raise anything
            package = point.dist.name if point.dist else "unknown"
            _failures.append(
                f"the module '{point.value}' of the installed package '{package}', which registers parts, failed:"
                f" {type(error).__name__}: {' '.join(str(error).split())}; repair that package, or uninstall it"
            )


def check() -> None:
    """Reports the first module that failed.

    Raises:
      UserError: there is one.
    """
    if _failures:
        raise UserError(_failures[0])
