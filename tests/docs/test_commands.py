"""Commands and config keys that the docs, the configs and the launch scripts show: the real parsers accept them."""

import ast
import dataclasses
import re
import shlex
import subprocess
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from docs_pages import PAGES, ROOT, blocks

import t2c_jax  # noqa: F401 # registers all parts
from t2c_jax import cli, config
from t2c_jax.config.fields import Variant

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
SCRIPTS = sorted(path for path in (ROOT / "launch").iterdir() if path.is_file())


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell script, its variables filled in."""
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip().removeprefix("$ ")
        if assignment := re.fullmatch(r'([A-Z]+)="(.*)"', line):
            variables[assignment[1]] = assignment[2]
            continue
        line = re.sub(r"\$([A-Z]+)\b", lambda name: variables.get(name[1], name[0]), line)
        words: list[str] = []
        try:
            items = shlex.split(line, comments=True)
        except ValueError:  # output that was copied, with a quotation mark of its own
            continue
        for word in [*items, "|"]:
            if word != "|":
                words.append(word)
                continue
            if words:
                yield words
            words = []


def shown() -> Iterator[tuple[str, list[str]]]:
    """Every command of t2c: of pages' blocks and of configs' docstrings."""
    for page in PAGES:
        for block in blocks(page):
            if block.language != "python":
                for words in commands(block.text):
                    yield f"{page.relative_to(ROOT)}:{block.line}", words
    for path in CONFIGS:
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        for words in commands(docstring):
            yield str(path.relative_to(ROOT)), words


T2C = [(where, words[1:]) for where, words in shown() if words[0] == "t2c"]
LAUNCH = [
    (page.relative_to(ROOT).as_posix(), shlex.split(command))
    for page in PAGES
    for command in re.findall(r"bash (launch/(?:gke|slurm|tpu_vm)\.sh [^`\n]+)", page.read_text("utf-8"))
]


@pytest.mark.parametrize(("where", "words"), T2C, ids=[f"{where}-{' '.join(words)}"[:90] for where, words in T2C])
def test_t2c_takes_the_command(where: str, words: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    if "--help" in words:
        with pytest.raises(SystemExit) as stopped:
            cli._parse(list(words))
        assert stopped.value.code == 0
        return
    options = cli._parse(list(words))
    config.load(getattr(options, "config", None) or "configs/quickstart.py", options.overrides)


def test_there_are_commands_to_check():
    assert len(T2C) > 60
    assert len(LAUNCH) >= 3


@pytest.mark.parametrize(("where", "words"), LAUNCH, ids=[words[0] for _, words in LAUNCH])
def test_launch_scripts_take_the_command(where: str, words: list[str]):
    done = subprocess.run(["bash", *words, "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{where}: {done.stderr}"


def fields(section: typing.Any) -> Mapping[str, typing.Any]:
    """The types of a section's fields; of an architecture's those of all types."""
    if isinstance(section, type) and issubclass(section, Variant):
        every = [section.registry.get(name, "type") for name in section.registry]
        return {"type": str} | {name: hint for one in every for name, hint in typing.get_type_hints(one).items()}
    return typing.get_type_hints(section) if dataclasses.is_dataclass(section) else {}


def is_key(names: list[str]) -> bool:
    section: typing.Any = config.Experiment
    for name in names:
        if typing.get_origin(section) is Mapping:
            section = typing.get_args(section)[1]
        elif name in (known := fields(section)):
            section = known[name]
        else:
            return False
    return True


@pytest.mark.parametrize("path", [*PAGES, *CONFIGS, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_config_keys_exist(path: Path):
    """``config.train.steps`` in prose, and ``--config.train.steps=20`` wherever it is."""
    text = path.read_text("utf-8")
    if path in CONFIGS:
        text = ast.get_docstring(ast.parse(text)) or ""
    for key in re.findall(r"(?<![\w./])(?:--)?config\.([a-z_]+(?:\.\w+)*)", text):
        if key not in ("json", "py", "md"):
            assert is_key(key.split(".")), f"config.{key}"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("scoring.md", tuple(config.metrics)),
        ("objectives.md", tuple(config.objectives)),
        ("models.md", (*config.encoders, *config.decoders)),
    ],
    ids=["metrics", "objectives", "architectures"],
)
def test_pages_list_everything_that_is_registered(page: str, names: tuple[str, ...]):
    text = (ROOT / "docs" / page).read_text("utf-8")
    assert names
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_command_is_listed():
    text = (ROOT / "docs" / "index.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| `t2c (\w+)` \|", text, flags=re.M)) == sorted(cli.COMMANDS)
