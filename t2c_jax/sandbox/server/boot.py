"""The command line that starts a server in a fresh interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

# ``t2c_jax/__init__.py`` imports JAX. An empty module in its place lets the server import this directory alone.
_BOOT = """
import sys, types
package = types.ModuleType("t2c_jax")
package.__path__ = [sys.argv[1]]
sys.modules["t2c_jax"] = package
from t2c_jax.sandbox.server.main import main
main()
"""

PACKAGE = Path(__file__).resolve().parents[2]


def command() -> list[str]:
    """Starts a server on standard input and output; it writes no bytecode and ignores the user's own packages."""
    return [sys.executable, "-B", "-s", "-P", "-c", _BOOT, str(PACKAGE)]
