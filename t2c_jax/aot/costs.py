"""The costs of a compiled program on a device: operations of matrix products, bytes of HBM, bytes between devices.

They are counted in the program's text. ``compiled.cost_analysis()`` counts the body of a loop once, so that a scanned
stack of layers looks like one layer, and it does not say what the devices send to each other.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field

import numpy as np

from t2c_jax.aot.hlo import Computation, HloProgram, HloShape, Operation, parse, trips

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
# They cost nothing themselves: names of existing values, or calls of computations that are counted separately.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id"),
    *("while", "call", "conditional", "iota", "add-dependency", "replica-id"),
}
_PARTS = ("dynamic-slice", "slice", "gather")  # read a part of their first operand


@dataclass(frozen=True)
class Collective:
    """Bytes that one kind of collective moves, in all executions together.

    Attributes:
      kind: one of ``KINDS``.
      overlapped: whether the compiler runs it beside other work.
      group: numbers of the devices that take part, of the first group.
      count: how often it runs.
      payload: bytes of the arrays: what is gathered, scattered, summed, exchanged or sent.
      sent: bytes that leave each device, by a ring's algorithm.
    """

    kind: str
    overlapped: bool
    group: tuple[int, ...]
    count: float
    payload: float
    sent: float


@dataclass
class Costs:
    """Of one device, one execution of the program.

    Attributes:
      flops: of matrix products, a multiply-add counting 2.
      memory: bytes read from and written to HBM.
      collectives: by kind, overlap and group.
      kernels: runs of hand-written kernels, of which only what they declare is counted.
      unknown_loops: loops whose trip count is not known; they count once.
    """

    flops: float = 0.0
    memory: float = 0.0
    collectives: dict[tuple[str, bool, tuple[int, ...]], Collective] = field(default_factory=dict)
    kernels: float = 0.0
    unknown_loops: int = 0


def costs(text: str) -> Costs:
    """Counts of a scheduled program, as ``Compiled.as_text()`` gives it."""
    program, found = parse(text), Costs()
    _Walk(program, found).run(program.computations[program.entry], 1.0)
    return found


class _Walk:
    def __init__(self, program: HloProgram, found: Costs) -> None:
        self.program, self.found = program, found

    def run(self, computation: Computation, times: float) -> None:
        """Adds what ``times`` executions of a computation cost."""
        seen: set[str] = set()  # channels of overlapped collectives, each printed in several fusions
        for operation in computation.operations:
            self._add_called(computation, operation, times, seen)
            if operation.opcode not in _FREE and not operation.opcode.endswith("-done"):
                self.found.memory += times * self._memory(computation, operation)

    def _add_called(self, computation: Computation, operation: Operation, times: float, seen: set[str]) -> None:
        opcode = operation.opcode
        if opcode == "while":
            runs = trips(self.program, computation, operation)
            self.found.unknown_loops += runs is None
            self.run(self._body(operation, "body"), times * (1 if runs is None else runs))
        elif opcode == "call":
            self.run(self._body(operation, "to_apply"), times)
        elif opcode == "conditional":
            names = re.search(r"branch_computations=\{([^}]*)\}", operation.rest)
            named = (
                names[1].split(",") if names else re.findall(r"(?:true|false)_computation=(%?[\w.\-]+)", operation.rest)
            )
            branches = [self.program.computations[name.strip().lstrip("%")] for name in named]
            self.run(max(branches, key=self._flops), times)
        else:
            self._add_fused(computation, operation, times, seen, overlapped=False)

    def _add_fused(
        self, computation: Computation, operation: Operation, times: float, seen: set[str], *, overlapped: bool
    ) -> None:
        """Products and collectives of an operation, or of the computation that it is a fusion of."""
        opcode = operation.opcode
        if opcode in ("fusion", "async-start"):
            inner = self._body(operation, "calls")
            for part in inner.operations:
                self._add_fused(inner, part, times, seen, overlapped=overlapped or opcode == "async-start")
        elif opcode in ("convolution", "dot"):
            self.found.flops += times * _product(computation, operation)
        elif opcode == "custom-call" and "tpu_custom_call" in operation.rest:
            self.found.kernels += times
            declared = re.search(r'"?flops"?:\s*"?(\d+)', operation.rest)
            self.found.flops += times * (int(declared[1]) if declared else 0)
        elif opcode.removesuffix("-start") in KINDS:
            overlapped |= opcode.endswith("-start") or "async_collective_fusion_config" in operation.rest
            channel = re.search(r"channel_id=(\d+)", operation.rest)
            if overlapped and channel is not None:
                if channel[1] in seen:
                    return
                seen.add(channel[1])
            self._add_collective(computation, operation, times, overlapped)

    def _add_collective(self, computation: Computation, operation: Operation, times: float, overlapped: bool) -> None:
        kind = operation.opcode.removesuffix("-start")
        given = [shape for name in operation.operands for shape in computation.by_name[name].shapes]
        made = list(operation.shapes)
        if operation.opcode.endswith("-start"):  # its type lists the operands, then the results, then state
            made = made[len(given) : 2 * len(given)] if kind != "all-reduce" else made[: len(given)]
        if kind == "all-reduce" and _scattered(computation, operation):
            kind = "reduce-scatter"
        payload = float(max(sum(shape.bytes for shape in given), sum(shape.bytes for shape in made)))
        group = _group(operation.rest, kind)
        sent = payload * {"all-reduce": 2.0}.get(kind, 1.0)
        if kind != "collective-permute":
            sent *= (len(group) - 1) / len(group)
        key = (kind, overlapped, group)
        old = self.found.collectives.get(key, Collective(kind, overlapped, group, 0.0, 0.0, 0.0))
        self.found.collectives[key] = Collective(
            kind, overlapped, group, old.count + times, old.payload + times * payload, old.sent + times * sent
        )

    def _body(self, operation: Operation, attribute: str) -> Computation:
        return self.program.computations[operation.called(attribute) or ""]

    def _flops(self, computation: Computation) -> float:
        walk = _Walk(self.program, Costs())
        walk.run(computation, 1.0)
        return walk.found.flops

    def _memory(self, computation: Computation, operation: Operation) -> float:
        """Bytes to and from HBM of one execution of an operation."""
        opcode = operation.opcode
        given = [computation.by_name[name] for name in operation.operands if name in computation.by_name]
        if opcode in ("slice-start", "dynamic-slice-start"):  # its type lists the whole array, then the slice
            source, part = operation.shapes[:2]
            return float(part.bytes * ((not source.scratch) + (not part.scratch)))
        if opcode.endswith("-start"):  # a copy's destination and source are both in its result
            return float(sum(_outside(operation.shapes[:2])))
        if opcode in _PARTS:
            return 2.0 * sum(_outside(operation.shapes))
        if opcode == "dynamic-update-slice":
            return 2.0 * sum(_outside(given[1].shapes))
        if opcode != "fusion":
            return float(sum(_outside(operation.shapes)) + sum(sum(_outside(item.shapes)) for item in given))
        fused = self._body(operation, "calls")
        read = sum(self._read(fused, number, item) for number, item in enumerate(given))
        return read + self._written(fused, operation)

    def _read(self, fused: Computation, number: int, given: Operation) -> float:
        """Bytes that a fusion reads of an operand: its slices, or all of it."""
        whole = float(sum(_outside(given.shapes)))
        parameter = fused.parameters.get(number)
        if not whole or parameter is None:
            return whole
        return min(whole, self._bytes_read(fused, parameter.name, whole))

    def _bytes_read(self, fused: Computation, name: str, whole: float) -> float:
        """Bytes that the users of a value read of it, including fusions within a fusion."""
        part = 0.0
        for user in fused.users.get(name, []):
            if user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                continue  # written in place
            if user.opcode == "bitcast":
                part += self._bytes_read(fused, user.name, whole)
            elif user.opcode == "fusion":
                inner = self._body(user, "calls")
                part += sum(
                    self._bytes_read(inner, inner.parameters[number].name, whole)
                    for number, operand in enumerate(user.operands)
                    if operand == name
                )
            elif user.opcode in _PARTS and user.operands[0] == name:
                part += sum(shape.bytes for shape in user.shapes)
            else:
                return whole
        return part

    def _written(self, fused: Computation, operation: Operation) -> float:
        root = fused.root
        results = [fused.by_name[name] for name in root.operands] if root.opcode == "tuple" else [root]
        written = 0.0
        for shape, result in zip(operation.shapes, results, strict=False):
            while result.opcode == "bitcast":
                result = fused.by_name[result.operands[0]]
            if shape.scratch:
                continue
            updates = result.opcode == "dynamic-update-slice"
            written += fused.by_name[result.operands[1]].shapes[0].bytes if updates else shape.bytes
        return written


def _outside(shapes: tuple[HloShape, ...]) -> list[int]:
    return [shape.bytes for shape in shapes if not shape.scratch]


def _scattered(computation: Computation, operation: Operation) -> bool:
    """Whether each device keeps only its slice of a sum: a reduce-scatter on a TPU is a fusion of the two."""
    users = computation.users.get(operation.name, [])
    return bool(users) and all(user.opcode == "dynamic-slice" for user in users) and "fused" in computation.name


def _group(rest: str, kind: str) -> tuple[int, ...]:
    """The devices of the first group: listed, as ``[groups,size]<=[...]T(...)``, or as axes of a mesh.

    Raises:
      ValueError: they are in another form.
    """
    if kind == "collective-permute":
        pair = re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", rest)
        return (int(pair[1]), int(pair[2])) if pair else (0,)
    if (listed := re.search(r"replica_groups=\{\{([\d,]+)\}", rest)) is not None:
        return tuple(int(number) for number in listed[1].split(","))
    if (iota := re.search(rf"replica_groups=\[(\d+),(\d+)\]<={_IOTA}", rest)) is not None:
        return tuple(_numbers(iota[3], iota[4]).reshape(int(iota[1]), int(iota[2]))[0].tolist())
    mesh = re.search(rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({_IOTA}\))?\s*\{{([^}}]*)\}}", rest)
    if mesh is None:
        raise ValueError(f"the devices of this {kind} are written in an unknown form: {rest[:200]}")
    axes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
    wanted = re.findall(r"'([^']+)'", mesh[4])
    numbers = _numbers(mesh[2] or str(math.prod(axes.values())), mesh[3]).reshape(list(axes.values()))
    first = tuple(slice(None) if name in wanted else 0 for name in axes)
    return tuple(numbers[first].reshape(-1).tolist())


_IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"


def _numbers(sizes: str, order: str | None) -> np.ndarray:
    """XLA's ``[sizes]T(order)``: numbers from 0 in an array of those sizes, its axes in that order."""
    shape = [int(size) for size in sizes.split(",")]
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return numbers.transpose([int(axis) for axis in order.split(",")]) if order else numbers


def _product(computation: Computation, operation: Operation) -> float:
    """Operations of a matrix product. The TPU's are printed as convolutions, whose windows stand for batch axes."""
    left, right = (computation.by_name[name].shapes[0] for name in operation.operands[:2])
    if operation.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", operation.rest)
        axes = [int(axis) for axis in contracted[1].split(",") if axis] if contracted else []
        return 2.0 * operation.shapes[0].elements * math.prod(left.sizes[axis] for axis in axes)
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", operation.rest)
    if labels is None:
        raise ValueError(f"a convolution without dim_labels: {operation.name}")
    window = _window(operation.rest)
    positions = 1
    for digit in (letter for letter in labels[1] if letter.isdigit()):
        place = int(digit)
        sizes = (left.sizes[labels[1].index(digit)], operation.shapes[0].sizes[labels[3].index(digit)])
        kernel = right.sizes[labels[2].index(digit)]
        positions *= _positions(*sizes, kernel, *(window[key][place] if key in window else None for key in _WINDOW))
    groups = re.search(r"batch_group_count=(\d+)", operation.rest)
    rows = left.sizes[labels[1].index("b")] // (int(groups[1]) if groups else 1)
    return 2.0 * rows * right.sizes[labels[2].index("i")] * right.sizes[labels[2].index("o")] * positions


_WINDOW = ("stride", "pad", "lhs_dilate", "rhs_dilate")


def _window(rest: str) -> dict[str, list[str]]:
    found = re.search(r"window=\{([^}]*)\}", rest)
    return {key: value.split("x") for key, value in re.findall(r"(\w+)=([\d_x\-]+)", found[1])} if found else {}


@functools.cache
def _positions(
    size: int,
    outputs: int,
    kernel: int,
    stride: str | None,
    pad: str | None,
    lhs_dilate: str | None,
    rhs_dilate: str | None,
) -> int:
    """Pairs of an output and a kernel position that meet an element, along one axis: padding and holes do not count."""
    step, holes, spread = (int(text or 1) for text in (stride, lhs_dilate, rhs_dilate))
    low = int(pad.split("_")[0]) if pad else 0
    at = np.arange(outputs)[:, None] * step + np.arange(kernel)[None] * spread - low
    return int(np.sum((at >= 0) & (at <= (size - 1) * holes) & (at % holes == 0)))
