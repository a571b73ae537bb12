"""The rules of the house: imports run one way, heavy libraries stay where they belong, files stay small."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "t2c_jax"

LAYERS = (
    {
        "",
        "errors",
        "config",
        "workdir",
        "remote",
        "hitches",
        "console",
        "mesh",
        "runtime",
        "workers",
    },  # "" is the package itself: its version
    {"corpus", "data", "models"},
    {"train", "decode"},
    {"evaluate", "interop", "aot"},
    {"cli", "verbs", "summary"},
)
LEVEL = {component: level for level, components in enumerate(LAYERS) for component in components}
MAX_LINES = 450
TRANSFORMS = {"jit", "grad", "value_and_grad", "scan", "vmap", "pmap", "remat", "cond", "Optimizer", "Metric"}


@dataclass(frozen=True)
class Import:
    """One imported module, by absolute name; ``eager`` if importing the file imports it."""

    target: str
    eager: bool


@dataclass(frozen=True)
class Module:
    """A file of the package, by its dotted name."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text("utf-8"))

    @cached_property
    def component(self) -> str:
        return component_of(self.name)

    @cached_property
    def imports(self) -> list[Import]:
        return list(self._imports(self.tree.body, eager=True))

    def _imports(self, body: list[ast.stmt], eager: bool) -> Iterator[Import]:
        for statement in body:
            if isinstance(statement, ast.Import):
                yield from (Import(alias.name, eager) for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom):
                assert statement.level == 0, f"{self.path}: imports are absolute"
                for alias in statement.names:
                    submodule = f"{statement.module}.{alias.name}"
                    yield Import(submodule if submodule in NAMES else str(statement.module), eager)
            else:
                typing_only = isinstance(statement, ast.If) and ast.unparse(statement.test).endswith("TYPE_CHECKING")
                function = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
                for field in ("body", "orelse", "finalbody"):
                    yield from self._imports(getattr(statement, field, []), eager and not typing_only and not function)
                for handler in getattr(statement, "handlers", []):
                    yield from self._imports(handler.body, eager)

    def uses(self, library: str) -> bool:
        return any(item.target.split(".")[0] == library for item in self.imports)


def component_of(name: str) -> str:
    return [*name.split("."), ""][1]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {_name(path) for path in PACKAGE.rglob("*.py")}
MODULES = [Module(_name(path), path) for path in sorted(PACKAGE.rglob("*.py"))]
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def test_the_import_reader_sees_every_kind_of_import(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "import os.path\n"
        "from t2c_jax import errors\n"
        "if TYPE_CHECKING:\n    import jax\n"
        "try:\n    import tomllib\nexcept ImportError:\n    import tomli\n"
        "def f():\n    with x:\n        import tensorflow\n"
    )
    found = {item.target: item.eager for item in Module("a", path).imports}
    eager = {"typing", "os.path", "t2c_jax.errors", "tomllib", "tomli"}
    assert found == {**dict.fromkeys(eager, True), "jax": False, "tensorflow": False}


@each_module
def test_imports_run_one_way(module: Module):
    assert module.component in LEVEL, f"{module.component} has no place in the order of layers"
    for item in module.imports:
        if item.target.split(".")[0] == "t2c_jax":
            below = LEVEL[component_of(item.target)] <= LEVEL[module.component]
            assert below, f"{module.name} imports {item.target} from a layer above"


def test_no_module_imports_itself_by_a_detour():
    graph = {
        module.name: {item.target for item in module.imports if item.eager and item.target in NAMES - {module.name}}
        for module in MODULES
    }
    graphlib.TopologicalSorter(graph).prepare()


@each_module
def test_nothing_imports_configs_or_tests(module: Module):
    assert not module.uses("configs")
    assert not module.uses("tests")
    assert not module.uses("benchmarks")


@each_module
def test_corpus_knows_no_jax_and_tensorflow_stays_where_data_moves(module: Module):
    if module.component == "corpus":
        assert not any(module.uses(library) for library in ("jax", "flax", "optax", "orbax"))
    # One door, which keeps it away from accelerators; the pipeline names its types.
    assert not module.uses("tensorflow") or module.name in ("t2c_jax.runtime", "t2c_jax.data.pipeline")
    assert not module.uses("tensorflow_datasets") or module.name == "t2c_jax.corpus.dataset"
    if module.component == "models":
        assert not module.uses("tensorflow")
        assert not module.uses("optax")


@each_module
def test_nnx_is_a_definition_only(module: Module):
    attributes = {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nnx"
    }
    assert not attributes & TRANSFORMS
    if module.name != "t2c_jax.models.definition":
        assert not attributes & {"split", "merge", "update", "state", "graphdef"}
    if module.component not in ("models", "interop"):
        assert not attributes, f"{module.name} knows flax; parameters are plain dicts outside of models"


@each_module
def test_only_the_command_line_prints(module: Module):
    prints = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert module.component in ("cli", "commands") or not prints, f"{module.path}:{prints}"


@each_module
def test_files_are_small_and_say_what_they_are(module: Module):
    assert len(module.path.read_text("utf-8").splitlines()) <= MAX_LINES
    assert module.path.stem not in ("utils", "helpers", "misc", "common")
    assert ast.get_docstring(module.tree)


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after the statement."""
    program = f"{statement}\nimport sys\nprint(chr(10).join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


def test_help_waits_for_no_heavy_library():
    loaded = loaded_after(
        "import sys; sys.argv = ['t2c', '--help']\n"
        "from t2c_jax import cli\n"
        "try:\n    status = cli.main()\nexcept SystemExit as error:\n    status = error.code\n"
        "assert not status, status"
    )
    assert "t2c_jax" in loaded
    assert not loaded & {
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax",
        "tensorflow",
        "tensorflow_datasets",
        "sentencepiece",
    }


def test_mining_loads_neither_jax_nor_tensorflow():
    names = [module.name for module in MODULES if module.component == "corpus"]
    assert not loaded_after(f"import {', '.join(names)}") & {"jax", "flax", "tensorflow", "tensorflow_datasets"}
