"""Commit messages and the small changes of one file that they describe, from the history of a checkout.

``text`` is the message without trailers and, below a blank line, the lines before the change; ``code`` is the same
lines after it. Three lines around the change come with both. The common indentation is cut off; otherwise lines are as
in the file. The pair's commit is that of the change, and its lines are those of the file after it.

Merges, commits of several files, renames, large changes, changes of space alone and messages of robots make no pair.
Only git's objects are read: nothing is checked out, run or fetched (``git_commands``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.exclusion import Exclusion
from t2c_jax.corpus.git_commands import read_git, stream_git
from t2c_jax.corpus.pairs import Pair, Source, origin_id
from t2c_jax.corpus.rules import FileRules
from t2c_jax.corpus.sources import FileTree
from t2c_jax.corpus.tally import Tally, readable
from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.document_code import common_indentation
from t2c_jax.languages.extractor import extractor_for

KIND = "commit"
_CONTEXT = 3  # lines before and after a change
_MOST_LINES = 30  # of a change, before or after
_BATCH = 32  # changes whose contents are read at once
_RECORD_BYTES = 1_000_000  # a commit with a longer list of files changes more than one of them
_DOCUMENTS = frozenset([".md", ".markdown", ".mdx", ".qmd", ".rmd", ".ipynb", ".rst", ".rest"])
_LANGUAGES = {"h": "c", "hh": "cpp", "bash": "shell"}  # of suffixes that name none
_TRAILER = re.compile(
    r"^(?:[A-Z][\w-]*(?:-by|-Id|-To)|Cc|Fixes|Closes|Bug|See|Link|Refs?|References|PiperOrigin-\S+):.*$"
)
_NUMBER = re.compile(r"\s*\((?:#|GH-|gh-)\d+\)\s*$")
_NO_MESSAGE = re.compile(
    r"(?:merge|revert|bump|wip|fixup!|squash!|amend!|initial commit|v?\d+\.\d+|build\(deps|\[?(?:bot|skip ci)"
    r"|(?:release|version) v?\d|prepare (?:for )?release|update (?:readme|changelog|dependenc))",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_FEWEST_WORDS = 3
_HASH = re.compile(r"[0-9a-f]{40,64}(?:-dirty)?")  # the other commits of sources are versions
_LINE = re.compile(rb"[^\n]*\n|[^\n]+\Z")


class _Change(NamedTuple):
    commit: str
    message: str
    path: str
    before: str  # ids of the contents
    after: str


def mine_commits(
    tree: FileTree, config: CorpusConfig, skipped: Tally, revision: str = "HEAD", most: int | None = None
) -> Iterator[Pair]:
    """The pairs of a checkout's history, the newest first.

    Args:
      tree: a source; one that is no checkout has no history.
      config: for the files that are read.
      skipped: counts the commits that make no pair.
      revision: where the history ends.
      most: commits to read; config.corpus.max_commits by default.
    """
    if not re.fullmatch(r"HEAD|[0-9a-f]{40,64}", revision) or not _HASH.fullmatch(tree.commit):
        return
    batch: list[_Change] = []
    for change in _changes(tree, config, skipped, revision, most or config.max_commits):
        batch.append(change)
        if len(batch) == _BATCH:
            yield from _pairs(tree, config, skipped, batch)
            batch = []
    yield from _pairs(tree, config, skipped, batch)


def _changes(tree: FileTree, config: CorpusConfig, skipped: Tally, revision: str, most: int) -> Iterator[_Change]:
    exclusion = Exclusion(config.exclude)
    arguments = [
        "log",
        f"--max-count={most}",
        "--no-merges",
        "--full-diff",
        "--format=%x01%H%x00%B%x00",
        "--raw",
        "--no-abbrev",
        "-z",
    ]
    options = ["--no-renames", "--no-ext-diff", "--no-textconv", "--encoding=UTF-8", "--no-color", revision, "--", "."]
    for record in stream_git(tree.root, *arguments, *options, separator=b"\x01", limit=_RECORD_BYTES):
        commit, _, rest = record.partition(b"\0")
        message, _, listing = rest.partition(b"\0")
        fields = [field for field in listing.strip(b"\n\0").split(b"\0") if field]
        place = commit.decode("ascii", "replace")[:12]
        if len(fields) != 2 or len(record) >= _RECORD_BYTES:
            skipped.add("commit of several files", place)
            continue
        modes = fields[0].lstrip(b"\n:").decode("ascii", "replace").split()
        path = fields[1].decode("utf-8", "surrogateescape")
        if len(modes) != 5 or modes[4] != "M" or not (modes[0].startswith("100") and modes[1].startswith("100")):
            skipped.add("commit that adds, removes or replaces a file", place)
            continue
        within = path.removeprefix(tree.prefix)
        suffix = PurePosixPath(path).suffix.lower()
        if (
            not path.startswith(tree.prefix)
            or suffix in _DOCUMENTS
            or extractor_for(within, config.extractors) is None
            or exclusion.excludes(within)
        ):
            skipped.add("commit of a file that is not mined", place)
            continue
        words = _message(message.decode("utf-8", "replace"))
        if not words:
            skipped.add("commit message that says nothing", place)
            continue
        yield _Change(commit.decode("ascii", "replace"), words, path, modes[2], modes[3])


def _message(raw: str) -> str:
    """The message in words; empty if it says nothing of the change."""
    lines = [line.rstrip() for line in raw.strip().split("\n")]
    lines = [line for line in lines if not _TRAILER.match(line)]
    text = "\n".join([_NUMBER.sub("", lines[0]), *lines[1:]]).strip() if lines else ""
    subject = text.partition("\n")[0]
    if _NO_MESSAGE.match(subject) or len(_WORD.findall(subject)) < _FEWEST_WORDS or "�" in text:
        return ""
    return re.sub(r"\n{3,}", "\n\n", text)


def _pairs(tree: FileTree, config: CorpusConfig, skipped: Tally, changes: list[_Change]) -> Iterator[Pair]:
    file_rules = FileRules(config)
    contents = _contents(tree, {name for change in changes for name in (change.before, change.after)}, config)
    for change in changes:
        before, after = contents.get(change.before), contents.get(change.after)
        place = change.commit[:12]
        if before is None or after is None:
            skipped.add("commit of a file that is missing, too large or no text", place)
            continue
        if rule := file_rules(change.path.removeprefix(tree.prefix), after):
            skipped.add(f"commit of a file: {rule}", place)
            continue
        region = _region(before, after)
        if region is None:
            skipped.add("commit of a large change, or of space alone", place)
            continue
        old, new, start = region
        source = Source(
            tree.repository, change.commit, readable(change.path), start, start + len(new) - 1, tree.licence
        )
        language = PurePosixPath(change.path).suffix.lower().removeprefix(".")
        text = f"{change.message}\n\n{_joined(old)}"
        language = _LANGUAGES.get(language) or canonical(language)
        yield Pair(origin_id(source, KIND), text, _joined(new), language, KIND, source)


def _joined(lines: list[str]) -> str:
    return re.sub(r"\r?\n\Z", "", "".join(lines))


def _region(before: bytes, after: bytes) -> tuple[list[str], list[str], int] | None:
    """The changed lines before and after, with those around them, and the line of the first of them after."""
    old, new = _LINE.findall(before), _LINE.findall(after)
    shared = min(len(old), len(new))
    head = next((i for i in range(shared) if old[i] != new[i]), shared)
    tail = next((i for i in range(shared - head) if old[-1 - i] != new[-1 - i]), shared - head)
    changed_old, changed_new = old[head : len(old) - tail], new[head : len(new) - tail]
    if not changed_new or max(len(changed_old), len(changed_new)) > _MOST_LINES:
        return None
    if b"".join(changed_old).split() == b"".join(changed_new).split():
        return None
    first, last = max(0, head - _CONTEXT), max(0, tail - _CONTEXT)
    try:
        parts = [[line.decode("utf-8") for line in lines[first : len(lines) - last]] for lines in (old, new)]
    except UnicodeDecodeError:
        return None
    indent = common_indentation([line for part in parts for line in part])
    shown_old, shown_new = ([line.removeprefix(indent) for line in part] for part in parts)
    return shown_old, shown_new, first + 1


def _contents(tree: FileTree, names: set[str], config: CorpusConfig) -> dict[str, bytes]:
    """The contents of objects that are texts and not too large, by their ids."""
    ids = sorted(names)
    request = "".join(f"{name}\n" for name in ids).encode()
    sizes = read_git(tree.root, "cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", data=request)
    wanted = []
    for line in (sizes or b"").decode("ascii", "replace").splitlines():
        name, kind, size = [*line.split(), "", ""][:3]
        if kind == "blob" and size.isdecimal() and int(size) <= config.max_file_bytes:
            wanted.append((name, int(size)))
    names_of_texts = "".join(f"{name}\n" for name, _ in wanted)
    printed = read_git(tree.root, "cat-file", "--batch", data=names_of_texts.encode()) or b""
    found: dict[str, bytes] = {}
    position = 0
    for name, length in wanted:
        start = printed.find(b"\n", position) + 1
        if not printed.startswith(name.encode(), position):
            break
        data = printed[start : start + length]
        if b"\0" not in data:
            found[name] = data
        position = start + length + 1
    return found
