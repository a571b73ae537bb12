"""The API calls that a Python function makes, in the order in which it makes them (Gu et al. 2016, section 4.1).

The paper reads Java, whose types say which class a method belongs to. Here a call is named by how one gets to it:
through imports, through what a variable was assigned, through annotations of parameters and through literals.

    import pandas as pd

    def load(path: pathlib.Path, sep=","):      pathlib.Path.exists
        if path.exists():                       pandas.read_csv
            table = pd.read_csv(path, sep)      pandas.read_csv.groupby
            return table.groupby("a").sum()     pandas.read_csv.groupby.sum

So the result of a call goes by the name of what was called, be it a class or a function. A call's arguments come
before the call, the parts of statements in the order of their evaluation, the branches of a statement in the order of
the source, a lambda in its place; the calls of a nested function are its own. Builtins have no prefix.

A call is skipped where its name is not known: of a parameter without an annotation (so of ``self``), of what the
module itself defines, of relative imports, of elements, of results that are called. A variable that two branches leave
with different values is not known behind them; after ``try`` it is as the body leaves it. Loops are read once.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Value(NamedTuple):
    """The value of a variable or an expression: something of that name, or the result of calling it."""

    name: str
    is_result: bool = False


_UNKNOWN = _Value("?")
_NOTHING = _Value("")  # unbound, or None: no call is made on it, so it never argues with another branch

_Names = dict[str, _Value]

_BUILTINS = {name for name in dir(builtins) if not name.startswith("_")} - {"super"}  # super() names no class
_LITERALS: Mapping[type[ast.AST], str] = {
    ast.JoinedStr: "str",
    ast.List: "list",
    ast.ListComp: "list",
    ast.Tuple: "tuple",
    ast.Dict: "dict",
    ast.DictComp: "dict",
    ast.Set: "set",
    ast.SetComp: "set",
}
# Annotations that stand for what is within them, and how much of it; and those for what Python itself brings.
_WRAPPERS = {"typing.Optional": 1, "typing.Union": None, "typing.Annotated": 1, "typing.Final": 1}
_TYPING = {f"typing.{kind.title()}": kind for kind in ("list", "tuple", "dict", "set", "type")}
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_JUMPS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)


class ApiCalls:
    """Reads the functions of one module."""

    def __init__(self, module: ast.Module) -> None:
        """Reads the module's own statements, for what its names stand for once it is imported."""
        self._enclosing: dict[int, Function] = {}
        self._inside: dict[int, _Names] = {}  # names at the end of a function, for those nested in it
        for scope, function in _nested_functions(module):
            if isinstance(scope, _FUNCTIONS):
                self._enclosing[id(function)] = scope
        reader = _Reader({})
        for statement in module.body:
            with contextlib.suppress(RecursionError):  # a table nested too deeply names nothing that is called
                reader.block([statement])
        self._globals = reader.names

    def of(self, function: Function) -> list[str]:
        """The names of the calls that the function's body makes, in order.

        Raises:
          RecursionError: it is nested too deeply.
        """
        return self._read(function).calls

    def _read(self, function: Function) -> _Reader:
        outer = self._enclosing.get(id(function))
        around = self._globals if outer is None else self._inside.get(id(outer))
        if around is None:
            assert outer is not None
            around = self._inside[id(outer)] = self._read(outer).names
        reader = _Reader({**around, **dict.fromkeys(_bound(function.body), _NOTHING)})
        reader.bind_parameters(function.args)
        reader.block(function.body)
        return reader


def _nested_functions(module: ast.Module) -> Iterator[tuple[ast.AST, Function]]:
    """Every function with the function, or the module, whose variables it sees; classes hide theirs from methods."""
    stack: list[tuple[ast.AST, ast.AST]] = [(module, module)]
    blocks = (ast.stmt, ast.excepthandler, ast.match_case)
    while stack:
        node, scope = stack.pop()
        if isinstance(node, _FUNCTIONS):
            yield scope, node
            scope = node
        stack.extend((child, scope) for child in ast.iter_child_nodes(node) if isinstance(child, blocks))


def _bound(body: Iterable[ast.AST]) -> set[str]:
    """The local variables of a function's body, parameters aside."""
    bound: set[str] = set()
    outside: set[str] = set()
    stack: list[ast.AST] = list(body)
    while stack:
        node = stack.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.add(name)
            case ast.MatchMapping(rest=str(name)):
                bound.add(name)
            case ast.alias():
                bound.add(node.asname or node.name.partition(".")[0])
            case ast.Global() | ast.Nonlocal():
                outside.update(node.names)
        if not isinstance(node, (*_SCOPES, *_COMPREHENSIONS)):
            stack.extend(ast.iter_child_nodes(node))
    return bound - outside


def _joined(one: _Names, other: _Names) -> _Names:
    """The names after two branches."""
    result = {}
    for name in one.keys() | other.keys():
        a, b = one.get(name, _NOTHING), other.get(name, _NOTHING)
        result[name] = a if a == b or b == _NOTHING else b if a == _NOTHING else _UNKNOWN
    return result


class _Reader:
    """Goes through statements in order, with the value of every name and the calls made so far."""

    def __init__(self, names: _Names, calls: list[str] | None = None) -> None:
        self.names = names
        self.calls: list[str] = [] if calls is None else calls
        self._loop_ends: list[_Names] = []  # names where the innermost loop is left, or begun anew

    def block(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)

    def bind_parameters(self, arguments: ast.arguments) -> None:
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self.names[argument.arg] = self._annotated(argument.annotation)
        for rest, kind in ((arguments.vararg, "tuple"), (arguments.kwarg, "dict")):
            if rest is not None:
                self.names[rest.arg] = _Value(kind, True)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._all(node.decorator_list)
                self._all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
                self.names[node.name] = _UNKNOWN
            case ast.ClassDef():
                self._all([*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)])
                _Reader(dict(self.names), self.calls).block(node.body)
                self.names[node.name] = _UNKNOWN
            case ast.Import() | ast.ImportFrom():
                self._import(node)
            case ast.Assign():
                value = self._value(node.value)
                for target in node.targets:
                    self._bind(target, value, node.value)
            case ast.AnnAssign():
                value = _NOTHING if node.value is None else self._value(node.value)
                known = value not in (_UNKNOWN, _NOTHING)
                self._bind(node.target, value if known else self._annotated(node.annotation))
            case ast.AugAssign():
                self._all([node.target, node.value])  # x += y is of x's type, as far as one can tell
            case ast.Delete():
                for target in node.targets:
                    self._bind(target, _NOTHING)
            case ast.If():
                self._value(node.test)
                self._branches([node.body, node.orelse])
            case ast.For() | ast.AsyncFor():
                self._value(node.iter)
                self._bind(node.target, _UNKNOWN)
                self._loop(node.body)
                self.block(node.orelse)
            case ast.While():
                self._value(node.test)
                self._loop(node.body)
                self.block(node.orelse)
            case ast.Break() | ast.Continue():
                self._loop_ends.append(dict(self.names))
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    value = self._value(item.context_expr)
                    if item.optional_vars is not None:
                        self._bind(item.optional_vars, value)
                self.block(node.body)
            case ast.Try() | ast.TryStar():
                self._try(node)
            case ast.Match():
                self._value(node.subject)
                for case in node.cases:
                    self.names.update(dict.fromkeys(_bound([case.pattern]), _UNKNOWN))
                    self._all([] if case.guard is None else [case.guard])
                self._branches([*(case.body for case in node.cases), []])
            case _:
                self._all(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))

    def _branches(self, bodies: Iterable[list[ast.stmt]]) -> None:
        before = self.names
        after: _Names | None = None
        for body in bodies:
            self.names = dict(before)
            self.block(body)
            if not body or not isinstance(body[-1], _JUMPS):
                after = self.names if after is None else _joined(after, self.names)
        self.names = before if after is None else after

    def _loop(self, body: list[ast.stmt]) -> None:
        around, self._loop_ends = self._loop_ends, []
        self._branches([body, []])
        self.names = functools.reduce(_joined, self._loop_ends, self.names)
        self._loop_ends = around

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        self.block(node.body)
        after = self.names
        for handler in node.handlers:
            self.names = dict(after)
            kind = self._annotated(handler.type)
            if handler.name is not None:
                self.names[handler.name] = kind
            self.block(handler.body)
            if not isinstance(handler.body[-1], _JUMPS):
                added = {name: value for name, value in self.names.items() if name != handler.name}
                after = {**added, **{name: value for name, value in after.items() if value != _NOTHING}}
        self.names = after
        self.block(node.orelse)
        self.block(node.finalbody)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                top = alias.name.partition(".")[0]
                self.names[alias.asname or top] = _Value(alias.name if alias.asname else top)
            elif alias.name != "*":
                known = node.module is not None and not node.level
                self.names[alias.asname or alias.name] = _Value(f"{node.module}.{alias.name}") if known else _UNKNOWN

    def _bind(self, target: ast.expr, value: _Value, source: ast.expr | None = None) -> None:
        match target:
            case ast.Name():
                self.names[target.id] = value
            case ast.Tuple() | ast.List():
                parts: list[ast.expr | None] = [None] * len(target.elts)
                if isinstance(source, ast.Tuple | ast.List) and len(source.elts) == len(target.elts):
                    parts = list(source.elts)
                # Their calls were counted with the whole; here only their names are read.
                quiet = _Reader(self.names)
                values = [_UNKNOWN if part is None else quiet._value(part) for part in parts]
                for element, value, part in zip(target.elts, values, parts, strict=True):
                    self._bind(element, value, part)
            case ast.Starred():
                self._bind(target.value, _Value("list", True))
            case _:
                self._value(target)  # calls within x().y = 1 and x[y()] = 1

    def _all(self, nodes: Iterable[ast.expr]) -> None:
        for node in nodes:
            self._value(node)

    def _value(self, node: ast.expr) -> _Value:
        """Counts the calls within an expression, and returns its value."""
        match node:
            case ast.Name():
                known = self.names.get(node.id)
                return known if known is not None else _Value(node.id) if node.id in _BUILTINS else _UNKNOWN
            case ast.Attribute():
                value = self._value(node.value)
                return _UNKNOWN if value in (_UNKNOWN, _NOTHING) else _Value(f"{value.name}.{node.attr}")
            case ast.Call():
                return self._call(node)
            case ast.Constant():
                return _literal(node.value)
            case ast.Await():
                return self._value(node.value)
            case ast.NamedExpr():
                value = self._value(node.value)
                self._bind(node.target, value)
                return value
            case ast.IfExp():
                self._value(node.test)
                return _same([self._value(node.body), self._value(node.orelse)])
            case ast.BoolOp():
                return _same([self._value(part) for part in node.values])
            case ast.BinOp():
                left, right = self._value(node.left), self._value(node.right)
                text = _Value("str", True)
                formats = left == text and isinstance(node.op, ast.Mod)
                joins = text in (left, right) and isinstance(node.op, ast.Add)
                return text if formats or joins else _UNKNOWN
            case ast.Lambda():
                inner = _Reader(dict(self.names), self.calls)
                inner.bind_parameters(node.args)
                inner._value(node.body)
                return _UNKNOWN
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                self._comprehension(node.generators, [node.elt])
            case ast.DictComp():
                self._comprehension(node.generators, [node.key, node.value])
            case ast.Dict():
                for key, part in zip(node.keys, node.values, strict=True):
                    self._all([part] if key is None else [key, part])
            case _:
                self._parts(node)
        literal = _LITERALS.get(type(node))
        return _UNKNOWN if literal is None else _Value(literal, True)

    def _parts(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._value(child)

    def _call(self, node: ast.Call) -> _Value:
        called = self._value(node.func)
        self._all([*node.args, *(keyword.value for keyword in node.keywords)])
        if called in (_UNKNOWN, _NOTHING) or called.is_result:
            return _UNKNOWN
        self.calls.append(called.name)
        return _Value(called.name, True)

    def _comprehension(self, generators: Iterable[ast.comprehension], results: Iterable[ast.expr]) -> None:
        inner = _Reader(dict(self.names), self.calls)
        for generator in generators:
            inner._value(generator.iter)
            inner._bind(generator.target, _UNKNOWN)
            inner._all(generator.ifs)
        inner._all(results)

    def _annotated(self, annotation: ast.expr | None) -> _Value:
        """The value of a variable of the class that an expression names; ``Optional[X]`` and ``X | None`` are X."""
        match annotation:
            case ast.Constant(value=str(text)):
                try:
                    return self._annotated(ast.parse(text.strip(), mode="eval").body)
                except (SyntaxError, ValueError, MemoryError):
                    return _UNKNOWN
            case ast.Constant(value=None):
                return _NOTHING
            case ast.BinOp(op=ast.BitOr()):
                return _same([self._annotated(annotation.left), self._annotated(annotation.right)])
            case ast.Subscript():
                base, inner = self._annotated(annotation.value), annotation.slice
                parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                if base.name in _WRAPPERS:
                    return _same([self._annotated(part) for part in parts[: _WRAPPERS[base.name]]])
                return base
            case ast.Name() | ast.Attribute():
                value = _Reader(self.names)._value(annotation)
                if value in (_UNKNOWN, _NOTHING) or value.is_result or value.name == "typing.Any":
                    return _UNKNOWN
                return _Value(_TYPING.get(value.name, value.name), True)
        return _UNKNOWN


def _same(values: list[_Value]) -> _Value:
    """What all the values are that are anything."""
    found = set(values) - {_NOTHING}
    return found.pop() if len(found) == 1 else _UNKNOWN if found else _NOTHING


def _literal(value: object) -> _Value:
    if value is None:
        return _NOTHING
    return _UNKNOWN if value is ... else _Value(type(value).__name__, True)
