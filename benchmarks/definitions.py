"""Definitions of languages that tree-sitter reads: how many documented ones become pairs, and how fast.

The judge is a second method: it walks the whole tree and reads the lines above each function as text. A documented
function whose own tree has no error has to be a pair. Speed, in processor time of one process, is compared with a walk
that only collects names, and with codetext (The Vault's parser), which needs an environment of its own:

  pip install codetext==0.0.9 tree-sitter==0.21.3 tree-sitter-languages==1.10.2
  python benchmarks/definitions.py java:/path/to/gson go:/path/to/cobra … --codetext /path/to/its/python
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tree_sitter import Node
from tree_sitter import Tree as SyntaxTree

import t2c_jax  # noqa: F401  (it registers all parts)
from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import Extraction, extractors
from t2c_jax.languages.syntax_trees import nodes, parse, tree_grammars

# Types of the functions of a language, where their documentation begins and what may be between.
FUNCTIONS = {
    "c": ("function_definition",),
    "cpp": ("function_definition",),
    "csharp": ("method_declaration", "constructor_declaration", "local_function_statement", "operator_declaration"),
    "go": ("function_declaration", "method_declaration"),
    "java": ("method_declaration", "constructor_declaration", "compact_constructor_declaration"),
    "javascript": ("function_declaration", "generator_function_declaration", "method_definition"),
    "kotlin": ("function_declaration", "secondary_constructor"),
    "php": ("function_definition", "method_declaration"),
    "ruby": ("method", "singleton_method"),
    "rust": ("function_item", "function_signature_item"),
    "shell": ("function_definition",),
    "sql": ("statement",),
    "swift": ("function_declaration", "init_declaration", "protocol_function_declaration"),
    "typescript": ("function_declaration", "generator_function_declaration", "method_definition"),
}
DOC_BLOCK = re.compile(rb"/\*\*(?![*/])")
ANY_BLOCK = re.compile(rb"/\*(?!\*?/)(?!\*?<)")
DOC = {  # beginnings of block comments and of lines
    "c": (ANY_BLOCK, re.compile(rb"//(?![/!]?<)")),
    "cpp": (ANY_BLOCK, re.compile(rb"//(?![/!]?<)")),
    "csharp": (DOC_BLOCK, re.compile(rb"///(?!/)")),
    "go": (ANY_BLOCK, re.compile(rb"//(?!go:|nolint|line |export )")),
    "java": (DOC_BLOCK, re.compile(rb"///(?!/)")),
    "javascript": (DOC_BLOCK, re.compile(rb"(?!)")),
    "kotlin": (DOC_BLOCK, re.compile(rb"(?!)")),
    "php": (DOC_BLOCK, re.compile(rb"(?!)")),
    "ruby": (re.compile(rb"(?!)"), re.compile(rb"#(?!!|\s*(?:rubocop|frozen_string_literal|typed|encoding|coding)\b)")),
    "rust": (DOC_BLOCK, re.compile(rb"///(?!/)")),
    "shell": (re.compile(rb"(?!)"), re.compile(rb"#(?!!|\s*shellcheck\b)")),
    "sql": (ANY_BLOCK, re.compile(rb"--(?!\s*(?:sqlfluff|name)\b)")),
    "swift": (DOC_BLOCK, re.compile(rb"///(?!/)")),
    "typescript": (DOC_BLOCK, re.compile(rb"(?!)")),
}
BETWEEN = re.compile(
    rb"#?!?\[.*\]|sig\s*\{.*\}|@[\w.]+(?:\(.*\))?|template\s*<.*>|(?:export|default|static|inline|extern)[\w\s*]*"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", metavar="LANGUAGE:DIR")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--missing", type=int, default=0, help="show so many functions that are no pair")
    parser.add_argument("--codetext", default="", metavar="PYTHON", help="an interpreter that has codetext")
    arguments = parser.parse_args()
    columns = (
        "project",
        "files",
        "MB",
        "documented",
        "pairs",
        "share",
        "with errors",
        "of these pairs",
        "MB/s",
        "bare walk",
        "ratio",
    )
    print(" | ".join([*columns, *(("codetext", "ratio", "MiB", "its MiB") if arguments.codetext else ())]))
    for project in arguments.projects:
        language, _, root = project.partition(":")
        row = measure(language, Path(root), arguments.rounds, arguments.missing)
        if arguments.codetext:
            row += against_codetext(language, Path(root), arguments.rounds, arguments.codetext)
        print(" | ".join([f"{Path(root).name} ({language})", *row]), flush=True)


def measure(language: str, root: Path, rounds: int, missing: int) -> list[str]:
    extractor = extractors.get(language, "language")
    config = CorpusConfig(text="docstring", stubs=True)
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in extractor.suffixes and path.is_file()]
    files = {str(path.relative_to(root)): path.read_bytes() for path in paths if path.stat().st_size <= 1_000_000}
    documented = found = broken = recovered = 0
    for path, data in files.items():
        extraction = extractor.extract(data, path, config)
        language_here = next((pair.language for pair in extraction.extracts), language)
        whole, errors = judged(data, language_here, path)
        lines = lines_of(extraction, data)
        documented += len(whole)
        broken += len(errors)
        recovered += len(errors & lines)
        found += len(whole & lines)
        for line in sorted(whole - lines)[: max(missing, 0)]:
            missing -= 1
            print(f"  {path}:{line}", file=sys.stderr)
    size = sum(map(len, files.values())) / 1e6
    ours = size / fastest(lambda: [extractor.extract(data, path, config) for path, data in files.items()], rounds)
    bare = size / fastest(lambda: [names(data, language, path) for path, data in files.items()], rounds)
    share = f"{found / documented:.2%}" if documented else "-"
    counts = (str(len(files)), f"{size:.2f}", str(documented), str(found), share, str(broken), str(recovered))
    return [*counts, f"{ours:.2f}", f"{bare:.2f}", f"{ours / bare:.2f}"]


# Each is run in a process of its own, with the language, the number of rounds and the paths of files in standard input.
OURS = """
import t2c_jax
from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import extractors
config, extractor = CorpusConfig(text="docstring"), extractors.get(language, "language")
def read(path, data):
    extractor.extract(data, path, config)
"""
CODETEXT = """
import logging
logging.disable(logging.CRITICAL)
from codetext import parser as parsers
from codetext.utils import parse_code
names = {"cpp": "Cpp", "c": "Cpp", "go": "Go", "java": "Java", "javascript": "Javascript", "rust": "Rust"}
parser = getattr(parsers, names[language] + "Parser")
def read(path, data):
    root = parse_code(data, language).root_node
    for found, describe in (
        (parser.get_function_list(root), parser.get_function_metadata),
        (parser.get_class_list(root), parser.get_class_metadata),
    ):
        for node in found:
            parser.get_docstring(node), node.text, describe(node)
"""
TIMED = """
import json, sys, time
language, rounds, paths = json.load(sys.stdin)
{program}
def run():
    for path, data in files:
        try:
            read(path, data)
        except Exception:
            global failed
            failed += 1
times, failed = [], 0
files = [(path, open(path, "rb").read()) for path in paths]
for _ in range(rounds):
    start = time.process_time()
    run()
    times.append(time.process_time() - start)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
print(json.dumps([min(times), peak, failed // rounds]))
"""


def against_codetext(language: str, root: Path, rounds: int, python: str) -> list[str]:
    """Its speed, how much faster we are, and peak memory of both."""
    if language not in ("c", "cpp", "go", "java", "javascript", "rust"):
        return ["-"] * 4
    extractor = extractors.get(language, "language")
    paths = [str(path) for path in sorted(root.rglob("*")) if path.suffix.lower() in extractor.suffixes]
    paths = [path for path in paths if Path(path).is_file() and Path(path).stat().st_size <= 1_000_000]
    size = sum(Path(path).stat().st_size for path in paths) / 1e6
    request = json.dumps([language, rounds, paths])
    results = []
    for interpreter, program in ((sys.executable, OURS), (python, CODETEXT)):
        command = [interpreter, "-c", TIMED.format(program=program)]
        results.append(
            json.loads(subprocess.run(command, input=request, capture_output=True, text=True, check=True).stdout)
        )
    (ours, memory, _), (theirs, their_memory, failed) = results
    if failed:
        print(f"  codetext raised in {failed} files of {root.name}", file=sys.stderr)
    return [f"{size / theirs:.2f}", f"{theirs / ours:.1f}", f"{memory:.0f}", f"{their_memory:.0f}"]


def lines_of(found: Extraction, data: bytes) -> set[int]:
    """All lines of the pairs' headers, since a judge's function may begin behind its attributes."""
    starts = [(pair.start_line, pair.code) for pair in found.extracts]
    source = data.decode("utf-8-sig", "replace").split("\n")
    for reason, line in found.skipped:
        if reason == "empty documentation":
            starts.append((line, "\n".join(source[line - 1 : line + 20])))
    return {line for start, code in starts for line in range(start, start + header(code))}


def header(code: str) -> int:
    """How many lines may be a definition's attributes and modifiers."""
    count = 1
    for line in code.split("\n"):
        if not BETWEEN.fullmatch(line.strip().encode()) and not line.strip().startswith(("//", "/*", "*")):
            break
        count += 1
    return count


def judged(data: bytes, language: str, path: str) -> tuple[set[int], set[int]]:
    """Lines of the documented functions without an error, and of those with one."""
    tree = tree_of(data, language, path)
    lines = data.split(b"\n")
    whole: set[int] = set()
    errors: set[int] = set()
    for node in nodes(tree.root_node):
        if language == "sql" and node.parent is not None and node.parent.type != "program":
            continue
        if node.type not in FUNCTIONS[language] or (language in ("c", "cpp") and not declares_function(node)):
            continue
        row = node.start_point.row
        if lines[row][: node.start_point.column].strip() and not BETWEEN.fullmatch(lines[row].strip()):
            continue
        if is_documented(lines, row, tree, language):
            (errors if node.has_error else whole).add(row + 1)
    return whole, errors


def is_documented(lines: list[bytes], row: int, tree: SyntaxTree, language: str) -> bool:
    """Whether a documentation comment ends on a line above, with nothing but attributes of one line between."""
    block, line_comment = DOC[language]
    above = row - 1
    while above >= 0:
        line = lines[above].strip()
        if not BETWEEN.fullmatch(line):
            break
        above -= 1
    if above < 0:
        return False
    line = lines[above].strip()
    if line_comment.match(line):
        return True
    if not line.endswith(b"*/"):
        return False
    start = sum(map(len, lines[:above])) + above + lines[above].rindex(b"*/")
    node = tree.root_node.descendant_for_byte_range(start, start + 1)
    while node is not None and "comment" not in node.type:
        node = node.parent
    if node is None:
        return False
    while node.parent is not None and "comment" in node.parent.type:
        node = node.parent
    text = b"\n".join(lines)[node.start_byte : node.end_byte]
    alone = not lines[node.start_point.row][: node.start_point.column].strip()
    return alone and block.match(text) is not None


def declares_function(node: Node) -> bool:
    declarator = node.child_by_field_name("declarator")
    while declarator is not None and declarator.type != "function_declarator":
        inner = declarator.child_by_field_name("declarator")
        declarator = inner or next((child for child in declarator.named_children if "declarator" in child.type), None)
    return declarator is not None


def tree_of(data: bytes, language: str, path: str) -> SyntaxTree:
    grammar = tree_grammars.get(language, "language")
    entry = "language_tsx" if path.endswith(".tsx") else grammar.entries[0]
    return parse(data, grammar.module, entry)


def names(data: bytes, language: str, path: str) -> list[bytes]:
    """The names of a file's functions, and nothing else."""
    found = []
    for node in nodes(tree_of(data, language, path).root_node):
        if node.type in FUNCTIONS[language]:
            name = node.child_by_field_name("name" if language not in ("c", "cpp") else "declarator")
            if name is not None:
                found.append(data[name.start_byte : name.end_byte])
    return found


def fastest(run: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
