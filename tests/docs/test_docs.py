"""README, CONTRIBUTING and the pages of docs/: they build, and what they show exists."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from docs_pages import PAGES, ROOT, blocks

import t2c_jax

NAMES = [str(path.relative_to(ROOT)) for path in PAGES]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_site_builds_without_a_warning(tmp_path: Path):
    """The strict build checks links and anchors. Zensical writes beside mkdocs.yml, hence the copy."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "index.html").is_file()


def test_every_page_is_in_the_navigation():
    def files(item: object) -> Iterator[str]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            for value in item.values():
                yield from files(value)
        elif isinstance(item, list):
            for value in item:
                yield from files(value)

    named = list(files(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    assert sorted(named) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def test_generated_pages_are_up_to_date():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import _generate
    finally:
        sys.path.pop(0)
    for name, text in _generate.pages().items():
        assert (ROOT / "docs" / name).read_text("utf-8") == text, f"{name}: run python docs/_generate.py"


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_and_headings(name: str):
    """The strict build checks the pages of docs/ alone."""
    page = ROOT / name
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), flags=re.M)
            assert anchor in {slug(heading) for heading in headings}, f"{name} links to {target}"


@pytest.mark.parametrize("name", NAMES)
def test_paths_of_this_repository_exist(name: str):
    """``configs/x.py``, ``t2c_jax/data/`` and the like, wherever a page writes them."""
    text = (ROOT / name).read_text("utf-8")
    for path in re.findall(r"(?<![\w./-])((?:configs|docs|launch|benchmarks|tests|t2c_jax|findings)/[\w./-]*)", text):
        path = path.rstrip(".")
        if path not in ("findings/NAME.sh", "t2c_jax/launch/_worker.sh"):
            assert (ROOT / path).exists(), f"{name} names {path}"


@pytest.mark.parametrize("name", NAMES)
def test_python_blocks_compile(name: str):
    for block in blocks(ROOT / name):
        if block.language == "python":
            compile("\n" * (block.line - 1) + block.text, name, "exec")


FINDINGS = sorted((ROOT / "findings").iterdir())


@pytest.mark.parametrize("path", FINDINGS, ids=[path.name for path in FINDINGS])
def test_findings_have_their_form(path: Path):
    """They run outside CI: each names versions, behaviour and output, pins what it installs, and can fail."""
    text = path.read_text("utf-8")
    assert path.suffix == ".sh"
    for part in ("# Versions:", "# Behaviour:", "# Output:", "set -euo pipefail", "changed: "):
        assert part in text, f"{path.name} lacks {part!r}"
    install = re.search(r"pip\" install .*", text)
    if install is None:  # one about Python itself installs nothing
        assert "# Versions:  CPython" in text
        assert "install" not in text
        assert "t2c_jax" not in text
        return
    packages = [word.strip("'") for word in install[0].split()[2:] if not word.startswith("--")]
    assert packages
    assert all("==" in package for package in packages)
    assert "t2c_jax" not in text


@pytest.mark.parametrize("name", [name for name in NAMES if "<!-- run -->" in (ROOT / name).read_text("utf-8")])
def test_marked_python_blocks_run(name: str):
    """In a process of their own: they register parts."""
    code = "".join(block.text for block in blocks(ROOT / name) if block.runs)
    assert code
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_library_calls_fit_the_library(name: str):
    """Calls of ``t2c_jax``, a run and the loop's state: the functions exist and take the arguments shown."""
    for block in blocks(ROOT / name):
        if block.language != "python" or "import t2c_jax\n" not in block.text:
            continue
        owners = {"t2c_jax": t2c_jax, "run": t2c_jax.Run if "open_run" in block.text else t2c_jax.LoopState}
        for call in ast.walk(ast.parse(block.text)):
            if isinstance(call, ast.Call) and ast.unparse(call.func).partition(".")[0] in owners:
                owner, _, function = ast.unparse(call.func).partition(".")
                given = [None] * (len(call.args) + (owner == "run"))
                keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
                inspect.signature(getattr(owners[owner], function)).bind(*given, **keywords)
