"""What the package needs with one of its extras, a requirement a line: ``python launch/_requirements.py cuda``."""

import sys
import tomllib
from pathlib import Path


def main(extra: str) -> None:
    """Prints the requirements of pyproject.toml in the working directory.

    Raises:
      SystemExit: there is no such extra.
    """
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    if extra not in extras:
        sys.exit(f"error: pyproject.toml has no extra '{extra}'; it has {', '.join(extras)}")
    print(*project["dependencies"], *extras[extra], sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
