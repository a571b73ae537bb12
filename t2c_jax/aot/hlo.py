"""The text of a compiled program (HLO, scheduled) as computations of operations.

XLA prints an operation a line,

    %name = f32[8,128]{1,0:T(8,128)S(1)} opcode(%operand, ...), attribute=value, ...

in computations that others call by name. ``S(1)`` in a layout is the chip's own scratch memory; all else is HBM.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_BITS = {"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "bf16": 16, "f16": 16} | {
    "s32": 32,
    "u32": 32,
    "f32": 32,
    "s64": 64,
    "u64": 64,
    "f64": 64,
    "c64": 64,
    "c128": 128,
}
_ARRAY = re.compile(r"\b([a-z]+[0-9]*(?:e\d+m\d+\w*)?)\[([\d,]*)\](\{[^}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_END = re.compile(r"^\}(, execution_thread=.*)?\s*$")  # a kernel's attributes may fill lines that begin with a brace
_OPERATION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_NAME = re.compile(r"%([\w.\-]+)")


@dataclass(frozen=True)
class HloShape:
    """An array's type, and whether it lies in the chip's scratch memory."""

    dtype: str
    sizes: tuple[int, ...]
    scratch: bool = False

    @property
    def elements(self) -> int:
        """How many numbers."""
        return math.prod(self.sizes)

    @property
    def bytes(self) -> int:
        """What they take, without padding."""
        bits = _BITS.get(self.dtype, 8 if self.dtype.startswith("f8") else 0)
        return self.elements * bits // 8


@dataclass(frozen=True)
class Operation:
    """One line.

    Attributes:
      shapes: the result's; several for a tuple, whose nesting is lost.
      operands: their names; of a constant its literal, of a parameter its number.
      rest: the attributes, as printed.
      root: the computation's result.
    """

    name: str
    opcode: str
    shapes: tuple[HloShape, ...]
    operands: tuple[str, ...]
    rest: str
    root: bool

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute names."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None


@dataclass
class Computation:
    """Operations in their order, and by name."""

    name: str
    operations: list[Operation] = field(default_factory=list)

    @functools.cached_property
    def by_name(self) -> dict[str, Operation]:
        """Each operation by its name."""
        return {operation.name: operation for operation in self.operations}

    @functools.cached_property
    def parameters(self) -> dict[int, Operation]:
        """Each parameter by its number."""
        return {int(item.operands[0]): item for item in self.operations if item.opcode == "parameter"}

    @functools.cached_property
    def users(self) -> dict[str, list[Operation]]:
        """Which operations read each one."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for name in operation.operands:
                found.setdefault(name, []).append(operation)
        return found

    @property
    def root(self) -> Operation:
        """The result."""
        return next((item for item in self.operations if item.root), self.operations[-1])


@dataclass(frozen=True)
class HloProgram:
    """All computations by name, and the name of the one that runs."""

    computations: Mapping[str, Computation]
    entry: str


def parse(text: str) -> HloProgram:
    """The program of ``Compiled.as_text()``.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if (head := _HEAD.match(line)) is not None:
            current = computations[head[2]] = Computation(head[2])
            entry = head[2] if head[1] else entry
        elif _END.match(line):
            current = None
        elif current is not None and (operation := _operation(line)) is not None:
            current.operations.append(operation)
    if not entry:
        raise ValueError("not a program: no computation is marked ENTRY")
    return HloProgram(computations, entry)


def shapes(text: str) -> tuple[HloShape, ...]:
    """The arrays of a printed type, tuples flattened."""
    return tuple(
        HloShape(dtype, tuple(int(size) for size in sizes.split(",") if size), "S(1)" in (layout or ""))
        for dtype, sizes, layout in _ARRAY.findall(text)
    )


def _operation(line: str) -> Operation | None:
    head = _OPERATION.match(line)
    if head is None:
        return None
    rest = line[head.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    opening = rest.find("(")
    closing = _closing(rest, opening)
    opcode, inside = rest[:opening], rest[opening + 1 : closing]
    names = tuple(_NAME.findall(inside)) or ((inside.strip(),) if inside.strip() else ())
    return Operation(head[2], opcode, shapes(kind), names, rest[closing + 1 :], bool(head[1]))


def _closing(text: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    raise ValueError(f"unbalanced parentheses in the program's text: {text[:80]}")


def trips(program: HloProgram, where: Computation, loop: Operation) -> int | None:
    """How often a while loop's body runs; at most, where its end depends on data too. None where nothing tells.

    XLA says it in ``known_trip_count``, or leaves a counter that starts from a constant, grows by one, and is compared
    with another constant.
    """
    if (known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)) is not None:
        return int(known[1])
    condition = program.computations.get(loop.called("condition") or "")
    if condition is None:
        return None
    for operation in condition.operations:
        for inner, frame in _within(program, condition, operation):
            if inner.opcode != "compare" or "direction=L" not in inner.rest:
                continue
            counter, limit = (_source(frame, name) for name in inner.operands)
            if counter[0] == "element" and limit[0] == "constant":
                start = _start(where, loop, counter[1])
                return max(0, limit[1] - start + ("direction=LE" in inner.rest))
    return None


_Frame = tuple[Computation, Computation | None, Operation | None]


def _within(program: HloProgram, computation: Computation, operation: Operation) -> list[tuple[Operation, _Frame]]:
    if operation.opcode != "fusion":
        return [(operation, (computation, None, None))]
    fused = program.computations[operation.called("calls") or ""]
    return [(inner, (fused, computation, operation)) for inner in fused.operations]


def _source(frame: _Frame, name: str) -> tuple[str, int]:
    """Where a scalar comes from: ``("constant", value)``, ``("element", index of the loop's state)`` or unknown."""
    computation, outer, caller = frame
    operation = computation.by_name[name]
    while operation.opcode in ("copy", "bitcast", "convert"):
        operation = computation.by_name[operation.operands[0]]
    if operation.opcode == "constant":
        literal = operation.operands[0]
        return ("constant", int(literal)) if re.fullmatch(r"-?\d+", literal) else ("unknown", 0)
    if operation.opcode == "get-tuple-element":
        return "element", int(re.findall(r"index=(\d+)", operation.rest)[0])
    if operation.opcode == "parameter" and outer is not None and caller is not None:
        return _source((outer, None, None), caller.operands[int(operation.operands[0])])
    return "unknown", 0


def _start(where: Computation, loop: Operation, index: int) -> int:
    state = where.by_name.get(loop.operands[0])
    while state is not None and state.opcode in ("copy", "bitcast", "opt-barrier"):
        state = where.by_name.get(state.operands[0])
    if state is None or state.opcode != "tuple":
        return 0
    kind, value = _source((where, None, None), state.operands[index])
    return value if kind == "constant" else 0
