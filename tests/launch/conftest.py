import shutil
from pathlib import Path

import pytest
from stand_ins import executable

# No test may reach the real ones, which could have somebody's account.
OUTWARD = (
    "gcloud",
    "kubectl",
    "xpk",
    "sky",
    "docker",
    "sbatch",
    "srun",
    "scancel",
    "squeue",
    "scontrol",
    "sudo",
    "npm",
)


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """A copy of what the scripts touch."""
    root = tmp_path / "check out"
    for name in ("launch", "configs"):
        shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, root / name)
    return root


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A directory of stand-ins that comes first on PATH."""
    directory = tmp_path / "bin"
    for name in OUTWARD:
        executable(directory / name, f"echo {name} was called: $* >&2; exit 99")
    return directory
