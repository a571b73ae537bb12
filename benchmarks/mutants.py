"""Whether the harness of pass@k passes what is right and fails what is not: HumanEval's solutions, and mutants of them.

    python benchmarks/mutants.py --problems HumanEval.jsonl.gz

Each canonical solution has to pass. Each mutant differs from it in one place, by one of these operators. A mutant that
passes either does the same as the solution, or shows what the problem's tests do not test.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _rounds import machine

from t2c_jax import console
from t2c_jax.config import ExecutionConfig
from t2c_jax.corpus.execution_fields import execution_of
from t2c_jax.corpus.pairs import FILE_KIND, Pair, Source
from t2c_jax.evaluate.execution.executor import Executor

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in the place of a node, with the operator's name."""
    match node:
        case ast.Compare(ops=[one]) if type(one) in COMPARISONS:
            yield "comparison", ast.Compare(node.left, [COMPARISONS[type(one)]()], node.comparators)
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            yield "arithmetic", ast.BinOp(node.left, ARITHMETIC[type(op)](), node.right)
        case ast.BoolOp(op=op):
            yield "and, or", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), node.values)
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", ast.Constant(value + 1)
        case ast.Constant(value=str() as value):
            yield "constant", ast.Constant(f"{value}x")
        case ast.Return(value=ast.expr()):
            yield "return", ast.Return(ast.Constant(None))
        case ast.If():
            yield "condition", ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Assign() | ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield "statement", ast.Pass()


def mutants(source: str, name: str) -> Iterator[tuple[str, str]]:
    """Programs that differ from the source in one place of the function's body, docstring apart."""
    tree = ast.parse(source)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    if ast.get_docstring(function) is not None:
        del function.body[0]
    count = sum(1 for _ in ast.walk(function))
    for index in range(count):
        other = copy.deepcopy(tree)
        inside = next(node for node in other.body if isinstance(node, ast.FunctionDef) and node.name == name)
        target = list(ast.walk(inside))[index]
        for operator, new in changes(target):
            for parent in (child for statement in inside.body for child in ast.walk(statement)):
                _replace(parent, target, new)
            _replace(inside, target, new, fields=("body",))
            changed = ast.unparse(ast.fix_missing_locations(other))
            if changed != ast.unparse(tree):
                yield operator, changed


def _replace(parent: ast.AST, target: ast.AST, new: ast.AST, fields: tuple[str, ...] | None = None) -> None:
    for field in fields or parent._fields:
        value = getattr(parent, field, None)
        if value is target:
            setattr(parent, field, new)
        elif isinstance(value, list):
            value[:] = [new if each is target else each for each in value]


def read_problems(path: Path) -> list[tuple[Pair, list[tuple[str, str]]]]:
    """The problems of a file in HumanEval's format, with their mutants."""
    found = []
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            values: dict[str, Any] = json.loads(line)
            prompt, code = values["prompt"], values["canonical_solution"]
            source = Source("", "", path.name, number, number, "")
            pair = Pair(values["task_id"], prompt, code, "python", FILE_KIND, source, tests=execution_of(values))
            found.append((pair, list(mutants(prompt + code, values["entry_point"]))))
    return found


def main() -> None:
    """Runs all of them and prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, required=True, help="a file in HumanEval's format")
    parser.add_argument("--survivors", type=Path, help="a file to write the mutants that pass to")
    least = ExecutionConfig().cpu_seconds
    parser.add_argument("--cpu-seconds", type=float, default=least, help="that a program may use at least")
    options = parser.parse_args()
    problems = read_problems(options.problems)
    executor, start = Executor(ExecutionConfig(cpu_seconds=options.cpu_seconds)), time.monotonic()
    answers = [[pair.code, *dict.fromkeys(code for _, code in changed)] for pair, changed in problems]
    outcomes = executor.run([pair for pair, _ in problems], answers)
    seconds = time.monotonic() - start
    killed, total, statuses = Counter[str](), Counter[str](), Counter[str]()
    survivors = []
    for (pair, changed), own, outcome in zip(problems, answers, outcomes, strict=True):
        if outcome.left_out:
            continue
        judged = dict(zip(own, outcome.judgements, strict=True))
        for operator, code in changed:
            total[operator] += 1
            statuses[judged[code].status] += 1
            killed[operator] += judged[code].status not in ("passed", "not_run")
            if judged[code].status == "passed":
                survivors.append({"problem": pair.id, "operator": operator, "code": code})
    if options.survivors:
        options.survivors.write_text("".join(json.dumps(each) + "\n" for each in survivors), "utf-8")
    result = {
        "problems": len(problems),
        "left_out": Counter(outcome.left_out for outcome in outcomes if outcome.left_out),
        "solutions_passed": sum(bool(each.judgements) and each.judgements[0].status == "passed" for each in outcomes),
        "mutants": total.total(),
        "mutants_failed": killed.total(),
        "outcomes_of_mutants": dict(statuses.most_common()),
        "problems_with_a_failed_mutant": sum(len(each.judgements) > each.passed for each in outcomes),
        "failed_by_operator": {name: f"{killed[name]} of {count}" for name, count in total.most_common()},
        "programs_run": len(problems) * 2 + sum(map(len, answers)),
        "seconds": round(seconds, 1),
        "rung": executor.rung,
        "machine": machine(),
    }
    passed = f"{result['solutions_passed']} of {len(problems)} solutions pass"
    console.say(f"{passed}; {killed.total()} of {total.total()} mutants fail")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
