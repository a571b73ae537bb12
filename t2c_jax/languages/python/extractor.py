"""Functions, methods, classes and modules as pairs, from Python source files.

``code`` is the definition from its first decorator to its last line (with the comments that trail its body)
without its docstring and its own indentation. Otherwise it is byte for byte as in the file: line ends, tabs, form
feeds, blank lines, comments and the docstrings of nested definitions are kept. Lines inside multi-line strings are
dedented with the rest only if that leaves every value as it was. A pair whose code does not parse to the tree of the
definition without its docstring is skipped and counted. With another config.corpus.code, its ``forms.CodeForm`` makes
the code.

``text`` follows config.corpus.text, see ``languages.texts``. ``docstring`` is all of ``inspect.cleandoc``: parameter
sections and doctests belong to what the author says the code does. ``summary`` is its first paragraph, ``description``
all of it without sections (``python.docstrings``). With a signature, the first line is the definition's header on one
line (``python.header``): ``def name(x: int = 0) -> str``, ``async def …``, ``class Name(Base)``; the prose follows on
the next line.

Where the text form hides the name, the code has ``_`` wherever the definition names itself (``definitions.Mentions``).

Stubs are skipped and counted unless config.corpus.stubs keeps them: definitions whose body is only ``...``, ``pass``,
``raise NotImplementedError`` or ``return NotImplemented``, and overloads.

A ``check`` is a statement of a function that raises an error with a message (``python.checks``). Its text is the
function's signature, where the form of text has one, and below it the error as a traceback shows it.

A ``comment`` is statements under a comment (``python.line_comments``), an ``example`` the code of an example in a
docstring (``python.examples``). Their texts have the same signature above them.

With config.corpus.doctests, a definition keeps its doctests as tests (``python.doctests``). The text is the same.

Kinds in config.corpus.code_only come without a text: definitions that have no docstring, and ``module``, the whole file
as it decodes, without a byte order mark.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import io
import re
import tokenize
import warnings
from collections.abc import Iterator

from t2c_jax.config import CorpusConfig
from t2c_jax.languages import comment_prose, example_texts, forms
from t2c_jax.languages.document_code import makes_pairs
from t2c_jax.languages.extractor import MODULE_KIND, Extract, Extraction
from t2c_jax.languages.forms import NoPair, TextForm
from t2c_jax.languages.python import checks, examples
from t2c_jax.languages.python.definitions import Definition, Mentions
from t2c_jax.languages.python.docstrings import docstring_part
from t2c_jax.languages.python.doctests import ModuleDoctests
from t2c_jax.languages.python.header import PythonHeader
from t2c_jax.languages.python.line_comments import find_commented, statements_code
from t2c_jax.languages.python.source_lines import BLANK, dedented

# As Python's tokenizer splits: form feeds and Unicode's line separators end no line.
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_LINE_END = re.compile(rb"(?:\r\n|\r|\n)\Z")
_AFTER_DOCSTRING = re.compile(rb"[ \t\f]*;?[ \t\f]*")


def extract_python(data: bytes, config: CorpusConfig, path: str = "") -> Extraction:
    """What a file yields, documented or code alone; see the module's docstring for what text and code are.

    Args:
      data: the file.
      config: which pairs, and in which form.
      path: relative to the root of its source. What the file's relative imports mean for doctests depends on it.
    """
    found = Extraction()
    if b"\0" in data:
        found.skipped.append(("null bytes", 0))
        return found
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        source = data.decode(encoding)
        lines = _LINE.findall(source.encode("utf-8"))
    except (SyntaxError, LookupError, ValueError):  # UnicodeError is a ValueError
        found.skipped.append(("undecodable", 0))
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SyntaxWarnings are of what is read, not of ours
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            found.skipped.append(("syntax error", getattr(error, "lineno", 0) or 0))
            return found
        except (RecursionError, MemoryError):
            found.skipped.append(("nested too deeply", 0))
            return found
        if MODULE_KIND in config.code_only:
            found.extracts.append(Extract("", source, "python", MODULE_KIND, 1, max(len(lines), 1)))
        _add_definitions(found, tree, lines, config, path)
        if checks.KIND in config.kinds:
            _add_checks(found, tree, lines, config)
        if makes_pairs(config):
            if comment_prose.KIND in config.kinds:
                _add_comments(found, tree, lines, config)
            if example_texts.KIND in config.kinds:
                _add_examples(found, tree, lines, config)
        found.extracts.sort(key=lambda extract: extract.start_line)
    return found


def _add_definitions(found: Extraction, tree: ast.Module, lines: list[bytes], config: CorpusConfig, path: str) -> None:
    text_form, code_form = forms.text_form(config), forms.code_form(config)
    read_code = code_form.reader(tree) if code_form is not None else None
    language = "python" if code_form is None else code_form.language
    runs = config.doctests and language == "python" and not text_form.hides_name
    doctests = ModuleDoctests(tree, path)
    for node, kind, is_method in _definitions(tree):
        docstring = _docstring(node)
        has_text = docstring is not None or not text_form.documented
        if kind not in (config.kinds if has_text else config.code_only):
            continue
        if code_form is not None and kind not in code_form.kinds:
            continue
        line = _first_line(node, lines)
        with _counted(found, line):
            if not config.stubs and _is_stub(node):
                raise NoPair("stub")
            text = _text(node, docstring_part(docstring or "", text_form.part), text_form) if has_text else ""
            if read_code is not None:
                code, end_line = read_code(node), node.end_lineno or line
            else:
                code, end_line = _code(node, lines, line, text_form.hides_name, is_method)
            tests = doctests.of(node, docstring) if runs and docstring is not None else None
            found.extracts.append(Extract(text, code, language, kind, line, end_line, tests))


def _add_checks(found: Extraction, tree: ast.Module, lines: list[bytes], config: CorpusConfig) -> None:
    text_form, code_form = forms.text_form(config), forms.code_form(config)
    if not text_form.documented or (code_form is not None and checks.KIND not in code_form.kinds):
        return
    read_code = code_form.reader(tree) if code_form is not None else None
    language = "python" if code_form is None else code_form.language
    for statement, function, error in checks.find_checks(tree):
        line, end_line = statement.lineno, statement.end_lineno or statement.lineno
        with _counted(found, line):
            source = _check_code(statement, lines)
            code = source if read_code is None else read_code(statement)
            found.extracts.append(
                Extract(_text(function, error, text_form), code, language, checks.KIND, line, end_line)
            )


def _add_comments(found: Extraction, tree: ast.Module, lines: list[bytes], config: CorpusConfig) -> None:
    text_form = forms.text_form(config)
    for commented in find_commented(tree, lines):
        line, end_line = commented.first_line, commented.statements[-1].end_lineno or commented.first_line
        with _counted(found, line):
            code = statements_code(commented, lines)
            text = _text(commented.function, commented.text, text_form)
            found.extracts.append(Extract(text, code, "python", comment_prose.KIND, line, end_line))


def _add_examples(found: Extraction, tree: ast.Module, lines: list[bytes], config: CorpusConfig) -> None:
    text_form = forms.text_form(config)
    for node, _, _ in _definitions(tree):
        value = node.body[0]
        docstring = _docstring(node)
        if docstring is None:
            continue
        read = examples.read_examples(docstring, value.lineno, lines, config)
        found.skipped += read.skipped
        for example in read.extracts:
            with _counted(found, example.start_line):
                found.extracts.append(dataclasses.replace(example, text=_text(node, example.text, text_form)))


@contextlib.contextmanager
def _counted(found: Extraction, line: int) -> Iterator[None]:
    """Counts the reason why a candidate makes no pair."""
    try:
        yield
    except NoPair as reason:
        found.skipped.append((str(reason), line))
    except RecursionError:
        found.skipped.append(("nested too deeply", line))


def _definitions(tree: ast.Module) -> Iterator[tuple[Definition, str, bool]]:
    """Every definition with its kind and whether it is a method, outer before inner, without recursion."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, in_class = stack.pop()
        if isinstance(node, ast.ClassDef):
            yield node, "class", False
            in_class = True
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, "method" if in_class else "function", in_class
            in_class = False
        children = [child for name in _BLOCKS[type(node)] for child in getattr(node, name)]
        stack.extend((child, in_class) for child in reversed(children) if type(child) in _BLOCKS)


# The fields of each node that hold statements, in order. Definitions are in no expression.
_WITH_BLOCKS: list[type[ast.AST]] = [
    ast.Module,
    ast.match_case,
    *ast.stmt.__subclasses__(),
    *ast.excepthandler.__subclasses__(),
]
_BLOCKS = {
    kind: [name for name in kind._fields if name in ("body", "handlers", "orelse", "finalbody", "cases")]
    for kind in _WITH_BLOCKS
}


def _first_line(node: Definition, lines: list[bytes]) -> int:
    if not node.decorator_list:
        return node.lineno
    decorator = node.decorator_list[0]
    number, before = decorator.lineno, lines[decorator.lineno - 1][: decorator.col_offset]
    while b"@" not in before and number > 1:  # "@(" may be on a line of its own
        number -= 1
        before = lines[number - 1]
    return number


def _docstring(node: Definition) -> str | None:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value.value
    return None


def _text(node: Definition, prose: str, form: TextForm) -> str:
    if form.documented and not prose:
        raise NoPair("empty docstring")
    text = form.write(PythonHeader(node), prose)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise NoPair("lone surrogate in the docstring") from None
    return text


_ABSTRACT = {"NotImplementedError", "NotImplemented"}


def _is_stub(node: Definition) -> bool:
    """Whether the definition has no implementation. A lone docstring is not a stub: it has a reason of its own."""
    if any(_last_name(decorator) == "overload" for decorator in node.decorator_list):
        return True
    body = node.body if _docstring(node) is None else node.body[1:]
    return bool(body) and all(map(_is_empty, body))


def _is_empty(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Raise(exc=ast.expr() as value) | ast.Return(value=ast.expr() as value):
            return _last_name(value.func if isinstance(value, ast.Call) else value) in _ABSTRACT
    return False


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _code(node: Definition, lines: list[bytes], start: int, hides_name: bool, is_method: bool) -> tuple[str, int]:
    """The code and its last line in the file."""
    documented = _docstring(node) is not None
    if documented and len(node.body) == 1:
        raise NoPair("nothing but a docstring")
    end = node.end_lineno or start
    first = lines[start - 1]
    margin = first[: len(first) - len(first.lstrip(BLANK))]
    indent = margin.rpartition(b"\f")[2]  # a form feed sets the column back to 0
    end = _with_trailing_comments(lines, end, indent)
    block = lines[start - 1 : end]
    mentions = Mentions(node, is_method) if hides_name else None
    if mentions is not None:
        blanked = None if mentions.elsewhere else mentions.blank(block, start)
        if blanked is None:
            raise NoPair("names itself in a way that cannot be hidden")
        block = blanked
    # A backslash before the first line, or before the docstring, joins it to a line that is not cut out with it.
    whole = mentions is None and not _continues(lines, start - 1)
    if documented:
        docstring = node.body[0]
        whole = whole and _has_own_lines(docstring, lines) and not _continues(lines, docstring.lineno - 1)
        block = _without_docstring(block, docstring, start)
    if mentions is not None:
        block = [line.replace(b"\0", b"") for line in block]
    block[0] = block[0][len(margin) - len(indent) :]
    block[-1] = _LINE_END.sub(b"", block[-1])
    with mentions.renamed() if mentions is not None else contextlib.nullcontext():
        code = dedented(block, indent, without_docstring(node), whole=whole)
    return code, end


def _continues(lines: list[bytes], number: int) -> bool:
    """Whether a line ends in a backslash; line 0 does not."""
    return number > 0 and _LINE_END.sub(b"", lines[number - 1]).endswith(b"\\")


def _check_code(node: ast.If | ast.Assert, lines: list[bytes]) -> str:
    """The statement's own lines. Raises ``NoPair`` if it does not stand alone on them."""
    assert node.end_lineno is not None
    first = lines[node.lineno - 1]
    margin = first[: len(first) - len(first.lstrip(BLANK))]
    if len(margin) != node.col_offset or not first.startswith((b"if", b"assert"), node.col_offset):
        raise NoPair("check that is part of another statement")
    block = lines[node.lineno - 1 : node.end_lineno]
    indent = margin.rpartition(b"\f")[2]
    block[0] = block[0][len(margin) - len(indent) :]
    block[-1] = _LINE_END.sub(b"", block[-1])
    return dedented(block, indent, node)


def _with_trailing_comments(lines: list[bytes], end: int, indent: bytes) -> int:
    """The last line of the definition, counting the comments below it that are indented as its body is."""
    for number in range(end + 1, len(lines) + 1):
        line = lines[number - 1]
        stripped = line.strip()
        if not stripped:
            continue
        deeper = line.startswith(indent) and line[len(indent) :].startswith((b" ", b"\t"))
        if not (deeper and stripped.startswith(b"#")):
            break
        end = number
    return end


def _without_docstring(block: list[bytes], docstring: ast.stmt, start: int) -> list[bytes]:
    top, bottom = docstring.lineno - start, (docstring.end_lineno or start) - start
    before, after = _around(docstring, block[top], block[bottom])
    return block[:top] + ([before + after] if before.strip(BLANK) or after.strip() else []) + block[bottom + 1 :]


def _has_own_lines(docstring: ast.stmt, lines: list[bytes]) -> bool:
    before, after = _around(docstring, lines[docstring.lineno - 1], lines[(docstring.end_lineno or 0) - 1])
    return not before.strip(BLANK) and not after.strip()


def _around(docstring: ast.stmt, first: bytes, last: bytes) -> tuple[bytes, bytes]:
    """What is before and behind a docstring on its lines, without a semicolon; ast counts columns in UTF-8 bytes."""
    return first[: docstring.col_offset], _AFTER_DOCSTRING.sub(b"", last[docstring.end_col_offset :], count=1)


def without_docstring(node: Definition) -> Definition:
    """The definition, or a copy without its docstring."""
    if _docstring(node) is None:
        return node
    bare = copy.copy(node)
    bare.body = node.body[1:]
    return bare
