"""Leaf-to-leaf paths of Python's syntax tree (Alon et al. 2019, "code2seq", section 2).

A leaf is a name or a constant, and its holder the node that it is a field of. A path goes from a leaf's holder up to
the lowest node above both leaves, its top, and down to the other's holder; the texts of the leaves, its terminals, are
at both ends. ``x = y_1 + 2`` has the leaves x, y_1 and 2, and three paths (``^`` on the way up, ``v`` down):

    x    Name:Store^ Assign BinOp:Addv Namev        y 1
    x    Name:Store^ Assign BinOp:Addv Constantv    2
    y 1  Name^ BinOp:Add Constantv                  2

A node's id says its type and the direction. A type is the node's class, with its operator where it has one, and
``Store`` or ``Del`` where a name, an attribute or a subscript is not read. The types are listed here and not looked up
in the running Python's ``ast``, whose classes come and go: another Python gives the same ids to the same code, and
what a newer one adds is ``other``.

Letters: L leaves, P paths, M nodes of a path, R leaves at a time.
"""

from __future__ import annotations

import ast
import warnings
from typing import Any, NamedTuple

import numpy as np

from t2c_jax.data.permutation import permutation
from t2c_jax.languages.subtokens import subtokens
from t2c_jax.papers.code2seq.config import PathsConfig

_CLASSES = """
AnnAssign Assert Assign AsyncFor AsyncFunctionDef AsyncWith Attribute AugAssign Await BinOp BoolOp Call ClassDef Compare
Constant Delete Dict DictComp ExceptHandler Expr For FormattedValue FunctionDef GeneratorExp Global If IfExp Import
ImportFrom Interpolation JoinedStr Lambda List ListComp Match MatchAs MatchClass MatchMapping MatchOr MatchSequence
MatchSingleton MatchStar MatchValue Module Name NamedExpr Nonlocal ParamSpec Raise Return Set SetComp Slice Starred
Subscript TemplateStr Try TryStar Tuple TypeAlias TypeVar TypeVarTuple UnaryOp While With Yield YieldFrom alias arg
arguments comprehension keyword match_case withitem
"""
_BINARY = "Add BitAnd BitOr BitXor Div FloorDiv LShift MatMult Mod Mult Pow RShift Sub"
_COMPARISONS = "Eq Gt GtE In Is IsNot Lt LtE NotEq NotIn"

NODE_TYPES = (
    "other",
    *_CLASSES.split(),
    *(f"{name}:{context}" for name in ("Attribute", "Name", "Subscript") for context in ("Store", "Del")),
    *(f"{name}:{operator}" for name in ("BinOp", "AugAssign") for operator in _BINARY.split()),
    *(f"Compare:{operator}" for operator in _COMPARISONS.split()),
    *("BoolOp:And", "BoolOp:Or", "UnaryOp:Invert", "UnaryOp:Not", "UnaryOp:UAdd", "UnaryOp:USub"),
)
"""Their places are part of every checkpoint: new ones go to the end."""

DIRECTIONS = ("^", "", "v")
NODE_IDS = 1 + len(DIRECTIONS) * len(NODE_TYPES)  # 0 is padding

_TYPES = {name: number for number, name in enumerate(NODE_TYPES)}
_SILENT = {"ctx", "op", "ops", "kind", "type_comment", "type_ignores"}  # part of the type, or of no meaning
_TERMINAL_CHARACTERS = 64  # of a constant; a config's terminal_tokens cut the rest
_BLOCK_CELLS = 1 << 18  # pairs of leaves looked at together: a few MB


class SyntaxPaths(NamedTuple):
    """The paths of one piece of code.

    Attributes:
      nodes_PM: ids of each path's nodes, uint16, then 0.
      ends_P2: each path's two leaves as indices into ``terminals``, the first in the code first.
      terminals: what leaves say, in sub-tokens with spaces between them, each once.
    """

    nodes_PM: np.ndarray
    ends_P2: np.ndarray
    terminals: list[str]


def extract(code: str, config: PathsConfig) -> SyntaxPaths | None:
    """The paths of some Python within ``max_length`` and ``max_width``; None where it does not parse.

    Where there are more than ``stored``, as many are sampled, evenly and always the same.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SyntaxWarnings are of what is read, not of ours
        try:
            root = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    tree = _flatten(root)
    pairs = _pairs(tree, config)
    chosen_P = np.sort(permutation(len(pairs[0]), 0)[: config.stored])
    first_P, second_P, top_P = (part[chosen_P] for part in pairs)
    used, ends = np.unique(np.stack([first_P, second_P], axis=1), return_inverse=True)
    terminals: dict[str, int] = {}
    numbers = [terminals.setdefault(terminal(tree.leaves[leaf]), len(terminals)) for leaf in used.tolist()]
    ends_P2 = np.array(numbers, np.int32)[ends.reshape(-1, 2)]
    return SyntaxPaths(_nodes(tree, first_P, second_P, top_P, config.max_length), ends_P2, list(terminals))


def terminal(text: str) -> str:
    """An identifier or a constant in sub-tokens: ``parseHTTP_v2`` gives ``parse http v 2``.

    What has no letter or digit stays as it is; nothing becomes ``''``.
    """
    text = text[:_TERMINAL_CHARACTERS].encode("utf-8", "replace").decode("utf-8")  # a lone surrogate is no text
    return " ".join(subtokens(text)) or text or "''"


def describe(nodes_M: np.ndarray) -> str:
    """A path's nodes in words."""
    split = [divmod(int(node) - 1, len(DIRECTIONS)) for node in nodes_M if node]
    return " ".join(f"{NODE_TYPES[kind]}{DIRECTIONS[direction]}" for kind, direction in split)


class _Tree(NamedTuple):
    """Nodes before their children; leaves in the order of the tree.

    ``child`` counts a node's children from 0, leaves among them; ``turn_L`` is the depth of the lowest node above a
    leaf and the one before it.
    """

    kind: np.ndarray
    parent: np.ndarray
    depth: np.ndarray
    child: np.ndarray
    holder_L: np.ndarray
    leaf_child_L: np.ndarray
    turn_L: np.ndarray
    leaves: list[str]


def _flatten(root: ast.AST) -> _Tree:
    """Without recursion, since a sum of a thousand terms is a thousand nodes deep."""
    kind, parent, depth, child = (list[int]() for _ in range(4))
    holder, leaf_child, turn = (list[int]() for _ in range(3))
    leaves: list[str] = []
    stack: list[tuple[ast.AST | str, int, int]] = [(root, 0, 0)]
    lowest = 0
    while stack:
        item, above, place = stack.pop()
        if kind:
            lowest = min(lowest, depth[above])
        if isinstance(item, str):
            leaves.append(item)
            holder.append(above)
            leaf_child.append(place)
            turn.append(lowest)
            lowest = depth[above]
            continue
        number = len(kind)
        kind.append(_type(item))
        parent.append(above)
        depth.append(depth[above] + 1 if number else 0)
        child.append(place)
        children = _children(item)
        stack.extend((children[i], number, i) for i in range(len(children) - 1, -1, -1))
    nodes = (_array(kind), _array(parent), _array(depth), _array(child))
    return _Tree(*nodes, _array(holder), _array(leaf_child), _array(turn), leaves)


def _array(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)


def _type(node: ast.AST) -> int:
    name: str = type(node).__name__
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp):
        name = f"{name}:{type(node.op).__name__}"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        name = f"{name}:{type(node.ops[0]).__name__}"
    elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        name = f"{name}:{type(node.ctx).__name__}"
    return _TYPES.get(name, 0)


def _children(node: ast.AST) -> list[ast.AST | str]:
    """In the order of the fields, but for a dict's keys, each of which comes before its value."""
    if isinstance(node, ast.Constant | ast.MatchSingleton):
        return [_constant(node.value)]
    found: list[Any] = []
    if isinstance(node, ast.Dict):
        found = [item for pair in zip(node.keys, node.values, strict=True) for item in pair]
    elif isinstance(node, ast.MatchMapping):
        found = [item for pair in zip(node.keys, node.patterns, strict=True) for item in pair] + [node.rest]
    else:
        for name in node._fields:
            value = None if name in _SILENT else getattr(node, name, None)
            if isinstance(value, list):
                found += value
            else:
                found.append(value)
    return [item for item in found if isinstance(item, ast.AST | str)]


def _constant(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to write huge ones down in decimal
        return hex(value)
    return "..." if value is ... else repr(value)


def _ancestors(tree: _Tree, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each leaf its ``length`` nearest ancestors, the holder first, and which child of each it lies below."""
    above_LM = np.zeros((len(tree.leaves), length), np.int32)
    child_LM = np.zeros_like(above_LM)
    node_L, child_L = tree.holder_L, tree.leaf_child_L
    for place in range(length):
        above_LM[:, place], child_LM[:, place] = node_L, child_L
        node_L, child_L = tree.parent[node_L], tree.child[node_L]
    return above_LM, child_LM


def _pairs(tree: _Tree, config: PathsConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both leaves of each path and its top's depth.

    The top of leaves i < j is as deep as the least of the turns from i + 1 to j.
    """
    depth_L = tree.depth[tree.holder_L]
    _, child_LM = _ancestors(tree, config.max_length)
    leaves = len(tree.leaves)
    index_L = np.arange(leaves)
    found = [(index_L[:0], index_L[:0], index_L[:0])]
    rows = max(1, _BLOCK_CELLS // max(leaves, 1))
    for start in range(0, leaves, rows):
        row_R = index_L[start : start + rows]
        after_RL = index_L[None] > row_R[:, None]
        deepest = np.iinfo(np.int32).max // 4
        top_RL = np.minimum.accumulate(np.where(after_RL, tree.turn_L[None], deepest), axis=1)
        length_RL = depth_L[row_R][:, None] + depth_L[None] - 2 * top_RL + 1
        row_P, second_P = np.nonzero(after_RL & (length_RL <= config.max_length))
        first_P, top_P = row_R[row_P], top_RL[row_P, second_P]
        left_P = child_LM[first_P, depth_L[first_P] - top_P]
        right_P = child_LM[second_P, depth_L[second_P] - top_P]
        narrow_P = np.abs(right_P - left_P) <= config.max_width
        found.append((first_P[narrow_P], second_P[narrow_P], top_P[narrow_P]))
    first, second, top = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, top


def _nodes(tree: _Tree, first_P: np.ndarray, second_P: np.ndarray, top_P: np.ndarray, length: int) -> np.ndarray:
    above_LM, _ = _ancestors(tree, length)
    depth_L = tree.depth[tree.holder_L]
    up_P1, down_P1 = ((depth_L[leaf_P] - top_P)[:, None] for leaf_P in (first_P, second_P))
    beyond_PM = np.arange(length)[None] - up_P1  # nodes past the top
    nodes_PM = np.where(
        beyond_PM <= 0,
        above_LM[first_P],
        np.take_along_axis(above_LM[second_P], np.clip(down_P1 - beyond_PM, 0, length - 1), axis=1),
    )
    ids_PM = 1 + len(DIRECTIONS) * tree.kind[nodes_PM] + 1 + np.sign(beyond_PM)
    return np.where(beyond_PM <= down_P1, ids_PM, 0).astype(np.uint16)
