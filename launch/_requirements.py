"""Prints the requirements of the package with some extras, one per line: ``python launch/_requirements.py tpu,gs``."""

import sys
import tomllib
from pathlib import Path


def main(names: str) -> None:
    """Prints the requirements of pyproject.toml in the working directory.

    Raises:
      SystemExit: there is no such extra.
    """
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name in names.split(","):
        if name not in extras:
            sys.exit(f"error: pyproject.toml has no extra '{name}'; it has {', '.join(extras)}")
    print(*project["dependencies"], *(item for name in names.split(",") for item in extras[name]), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
