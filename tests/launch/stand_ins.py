"""Stand-ins for the commands that the launch scripts call, and what they record."""

import os
import subprocess
from pathlib import Path

# A call is its words with a unit separator after each, and a record separator.
RECORD = r"""{ printf '%s\037' "$@"; printf '\036'; } >>"$ANSWERS/$(basename "$0").log" """

# take FILE: the first line of the file, which loses it; fails where there is none.
TAKE = r"""
take() { [ -s "$ANSWERS/$1" ] && head -n 1 "$ANSWERS/$1" && sed -i 1d "$ANSWERS/$1"; }
# peek FILE: the same, but the last line stays; says as gcloud does where there is no file.
peek() {
  [ -s "$ANSWERS/$1" ] || { echo "ERROR: NOT_FOUND: nothing of that name" >&2; exit 1; }
  head -n 1 "$ANSWERS/$1"
  [ "$(wc -l <"$ANSWERS/$1")" -le 1 ] || sed -i 1d "$ANSWERS/$1"
}
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def recorder(path: Path, text: str = "") -> Path:
    """A command that keeps a record of its calls beside the answers that it is given, and then does what text says."""
    return executable(path, f'ANSWERS="{path.parent.parent}"\n{TAKE}\n{RECORD}\n{text}')


def calls(commands: Path, name: str) -> list[list[str]]:
    """What the command of this name was called with."""
    log = commands.parent / f"{name}.log"
    if not log.exists():
        return []
    return [call.split("\x1f")[:-1] for call in log.read_text().split("\x1e")[:-1]]


def run(*words: object, cwd: Path, commands: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "EXTRA", "T2C_POLL_SECONDS")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**kept, "PATH": f"{commands}:/usr/bin:/bin", "T2C_POLL_SECONDS": "0", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
