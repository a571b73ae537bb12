"""The rules of the layout: imports run one way, heavy libraries stay where they belong, names mean one thing."""

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "t2c_jax"

# Each room may import the ones before it; those of one line import each other in one direction.
LAYERS = (
    ("errors", "version", "console", "runtime", "workers", "plugins"),
    ("config", "workdir", "mesh"),
    ("languages", "pages", "corpus", "tokenizers", "retrieval"),
    ("data",),
    ("kernels", "models"),
    ("checkpoints",),
    ("decode", "train"),
    ("sandbox", "evaluate"),
    ("interop", "aot", "serve", "papers"),
    ("library",),
    ("", "commands", "cli"),  # "" is the package itself, which registers all parts and offers the library
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
NEVER_TRAIN = ("models", "decode", "interop", "serve")  # to answer a prompt, nobody imports the train loop
TRANSFORMS = {"jit", "grad", "value_and_grad", "scan", "vmap", "pmap", "remat", "cond", "Optimizer", "Metric"}
# Libraries, and the modules that may import them anywhere in their code.
LIBRARIES = {
    # One place keeps it away from accelerators; the pipeline names its types.
    "tensorflow": ("t2c_jax.runtime", "t2c_jax.data.pipeline"),
    "tensorflow_datasets": ("t2c_jax.corpus",),
    "optax": ("t2c_jax.train",),
    "configs": (),
    "tests": (),
    "benchmarks": (),
}
# Names of files that say which part of a folder they are, and those of architectures.
ROLES = {
    *("__init__", "config", "layers", "encoder", "decoder", "extractor", "parsing", "loading", "identifiers"),
    *("attention", "bart", "bert", "gpt2", "modernbert", "t5"),
}
# Who may know a whole config, which they divide; all others take the sections or the values that they read.
WHOLE_CONFIG = (
    *("t2c_jax.config", "t2c_jax.commands", "t2c_jax.library"),
    *("t2c_jax.checkpoints.inherit", "t2c_jax.checkpoints.config_history", "t2c_jax.checkpoints.saved_run"),
    *("t2c_jax.train.loop", "t2c_jax.train.setup"),
)
NO_JAX = ("corpus", "languages", "retrieval", "config", "errors", "console", "workers", "plugins")


@dataclass(frozen=True)
class Module:
    """A file of the package, by its dotted name."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text("utf-8"))

    @property
    def room(self) -> str:
        return room_of(self.name)

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Line and absolute name of each imported module: at the top, in functions, and under TYPE_CHECKING."""
        return list(self._imports())

    def _imports(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}: imports are absolute"
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    yield node.lineno, submodule if submodule in NAMES else str(node.module)


def room_of(name: str) -> str:
    return [*name.split("."), ""][1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in PACKAGE.rglob("*.py")}
MODULES = [Module(name_of(path), path) for path in sorted(PACKAGE.rglob("*.py"))]


def is_in(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


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
    found = {target for _, target in Module("a", path).imports}
    assert found == {"typing", "os.path", "t2c_jax.errors", "jax", "tomllib", "tomli", "tensorflow"}


def test_imports_run_one_way():
    upwards = []
    for module in MODULES:
        assert module.room in LEVEL, f"{module.name} has no place in the order of layers"
        for line, target in module.imports:
            if target.split(".")[0] != "t2c_jax" or target == "t2c_jax":  # the version
                continue
            above = LEVEL[room_of(target)] > LEVEL[module.room]
            if above or (module.room in NEVER_TRAIN and room_of(target) == "train"):
                upwards.append(f"{module.name}:{line} imports {target}")
    assert not upwards, "\n".join(upwards)


def builds(config: str, target: str) -> bool:
    """An architecture's config imports the module that it builds, its neighbour, and that reads the config's fields."""
    folder, _, name = config.rpartition(".")
    return name == "config" and target.startswith(f"{folder}.")


def test_no_circles():
    """Between modules, and between the rooms of one layer; what is imported for types alone counts."""
    modules: dict[str, set[str]] = {}
    rooms: dict[str, set[str]] = {}
    for module in MODULES:
        targets = {target for _, target in module.imports if target in NAMES - {module.name, "t2c_jax"}}
        if module.name != "t2c_jax":
            modules[module.name] = {
                target
                for target in targets
                if not module.name.startswith(f"{target}.") and not builds(module.name, target)
            }
        rooms.setdefault(module.room, set()).update(room_of(target) for target in targets)
    graphlib.TopologicalSorter(modules).prepare()
    graphlib.TopologicalSorter({room: found - {room, ""} for room, found in rooms.items()}).prepare()


def test_libraries_stay_where_they_belong():
    strays = []
    for module in MODULES:
        for line, target in module.imports:
            library = target.split(".")[0]
            if library in LIBRARIES and not is_in(module.name, LIBRARIES[library]):
                strays.append(f"{module.name}:{line} imports {library}")
            if module.room in NO_JAX and library in ("jax", "flax", "optax", "orbax"):
                strays.append(f"{module.name}:{line} imports {library}")
    assert not strays, "\n".join(strays)


def test_nnx_is_a_definition_only():
    """NNX defines models; elsewhere parameters are plain dicts (transforms through modules cost 10 x in dispatch)."""
    for module in MODULES:
        attributes = {
            node.attr
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nnx"
        }
        assert not attributes & TRANSFORMS, module.name
        if module.name != "t2c_jax.models.definition":
            assert not attributes & {"split", "merge", "update", "state", "graphdef"}, module.name
        if module.room not in ("models", "papers"):
            assert not attributes, f"{module.name} knows flax; parameters are plain dicts outside of models"


def knows_whole_config(module: Module) -> set[int]:
    """Lines that name ``Experiment``, or a parameter or a field as it is called."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.alias):
            names = {node.name}
        elif isinstance(node, ast.Name):
            names = {node.id}
        elif isinstance(node, ast.Attribute):
            names = {node.attr}
        elif isinstance(node, ast.arg):
            names = {node.arg}
        else:
            continue
        if names & {"Experiment", "experiment"}:
            found.add(node.lineno)
    return found


def test_a_part_takes_its_part_of_the_config():
    for module in MODULES:
        if module.name != "t2c_jax" and not is_in(module.name, WHOLE_CONFIG):  # the package offers it to users
            assert not knows_whole_config(module), f"{module.path}: take the sections or the values that are read"
    for name in WHOLE_CONFIG:  # no more than these
        assert any(knows_whole_config(module) for module in MODULES if is_in(module.name, (name,))), name


def test_only_the_command_line_prints():
    for module in MODULES:
        prints = [
            node.lineno
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        ]
        assert module.room in ("cli", "commands") or not prints, f"{module.path}:{prints}"


def test_every_name_means_one_thing():
    """No two public classes of one name, no two files but those of one role; every file says what it is."""
    files = Counter(
        module.path.stem for module in MODULES if module.path.stem not in ROLES and module.room != "commands"
    )
    classes = Counter(
        node.name
        for module in MODULES
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert not [name for name, count in files.items() if count > 1]
    assert not [name for name, count in classes.items() if count > 1]
    for module in MODULES:
        assert module.path.stem not in ("utils", "helpers", "misc", "common")
        assert ast.get_docstring(module.tree), module.name


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after the statement."""
    program = f"{statement}\nimport sys\nprint(chr(10).join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


HEAVY = {
    *("numpy", "jax", "jaxlib", "flax", "optax", "orbax", "tensorflow", "tensorflow_datasets", "sentencepiece"),
    *("sacrebleu", "scipy"),
}


def test_help_and_the_library_wait_for_no_heavy_library():
    loaded = loaded_after(
        "import sys; sys.argv = ['t2c', '--help']\n"
        "from t2c_jax import cli\n"
        "try:\n    status = cli.main()\nexcept SystemExit as error:\n    status = error.code\n"
        "assert not status, status"
    )
    assert "t2c_jax" in loaded
    assert not loaded & HEAVY


def test_mining_loads_neither_jax_nor_tensorflow():
    names = [module.name for module in MODULES if module.room in ("corpus", "languages", "retrieval")]
    assert not loaded_after(f"import {', '.join(names)}") & {"jax", "flax", "tensorflow", "tensorflow_datasets"}


def test_answering_loads_no_tensorflow():
    names = [
        module.name for module in MODULES if module.room in ("decode", "interop", "checkpoints", "models", "serve")
    ]
    assert not loaded_after(f"import {', '.join(names)}") & {"tensorflow", "tensorflow_datasets"}
