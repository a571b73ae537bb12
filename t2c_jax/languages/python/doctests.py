"""Doctests of a mined definition as tests that an answer is run on.

The examples of the docstring become ``Execution.doctest``. What the module defines and they need becomes
``Execution.setup``: its imports, each of which may be missing where the answer runs, and the top-level statements that
bind a name that the definition or an example reads, directly or through another such statement. A relative import is
written with the name of the package, which is known from the directories that the file is in.

Only definitions at the top level of a module are run: a method needs its class, and a nested function its variables.
Nothing is run here. Where the reference does not pass its own doctests, the metric says so and does not score them.
"""

from __future__ import annotations

import ast
import doctest
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import PurePosixPath

from t2c_jax.languages.execution import Execution
from t2c_jax.languages.python.definitions import Definition

_NO_PACKAGES = ("src", "lib", "python")  # directories that hold packages


class ModuleDoctests:
    """Makes the tests of the definitions of one module."""

    def __init__(self, tree: ast.Module, path: str) -> None:
        """Reads nothing yet: most modules have no doctests.

        Args:
          tree: of the module.
          path: of its file, relative to the root of its source.
        """
        self._tree, self._path = tree, path

    def of(self, node: Definition, docstring: str) -> Execution | None:
        """The tests of a definition; None where its docstring has none, or it is not at the top level."""
        if ">>>" not in docstring or node not in self._tree.body:
            return None
        try:
            examples = doctest.DocTestParser().get_examples(docstring)
        except ValueError:  # an example's lines are not aligned
            return None
        read = _names_read([node]) | _names_read(filter(None, (_parsed(example.source) for example in examples)))
        if not examples:
            return None
        return Execution(setup=self._setup(node, read), doctest="\n".join(map(_written, examples)))

    def _setup(self, node: Definition, read: set[str]) -> str:
        needed: set[int] = set()
        waiting = list(read - {node.name})
        seen = set(waiting) | {node.name}
        while waiting:
            for index in self._binding.get(waiting.pop(), ()):
                if index not in needed:
                    needed.add(index)
                    new = _names_read([self._tree.body[index]]) - seen
                    seen |= new
                    waiting += new
        body = self._tree.body
        return "\n".join([*self._imports, *(ast.unparse(body[index]) for index in sorted(needed))])

    @cached_property
    def _imports(self) -> Sequence[str]:
        future, others = [], []
        for statement in self._tree.body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                future.append(ast.unparse(statement))
            elif isinstance(statement, ast.Import | ast.ImportFrom) and (absolute := self._absolute(statement)):
                others.append(f"try:\n    {ast.unparse(absolute)}\nexcept ImportError:\n    pass")
        return [*future, *others]

    def _absolute(self, statement: ast.Import | ast.ImportFrom) -> ast.Import | ast.ImportFrom | None:
        """An import that does not depend on where it is; None where the package is unknown."""
        if isinstance(statement, ast.Import) or not statement.level:
            return statement
        package = list(PurePosixPath(self._path).parent.parts)
        while package and package[0] in _NO_PACKAGES:
            del package[0]
        package = package[: len(package) - statement.level + 1]
        if not package or not all(map(str.isidentifier, package)):
            return None
        return ast.ImportFrom(".".join(filter(None, [*package, statement.module])), statement.names, 0)

    @cached_property
    def _binding(self) -> dict[str, list[int]]:
        """The top-level statements that bind each name, imports apart."""
        found: dict[str, list[int]] = {}
        for index, statement in enumerate(self._tree.body):
            for name in _names_bound(statement):
                found.setdefault(name, []).append(index)
        return found


def _names_bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return set()
    names = set()
    for node in ast.walk(statement):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.alias(name=name, asname=alias):
                names.add(alias or name.partition(".")[0])
    return names


def _names_read(trees: Iterable[ast.AST]) -> set[str]:
    return {
        node.id
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _written(example: doctest.Example) -> str:
    """The example without the prose and the indentation around it."""
    first, *others = example.source.splitlines()
    return "\n".join([f">>> {first}", *(f"... {line}".rstrip() for line in others), example.want])
