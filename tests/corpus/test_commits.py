"""Commits of a real checkout, and what its configuration must not make git do."""

import os
import subprocess

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.commits import mine_commits
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.pair_origin import find_origin
from t2c_jax.corpus.sources import resolve
from t2c_jax.corpus.tally import Tally
from t2c_jax.workdir import Workdir

CONFIG = CorpusConfig(kinds=("commit",), min_code_chars=5, dev_share=0, test_share=0)
FIRST = "".join(f"line_{n} = {n}\n" for n in range(60)) + "def f(x):\r\n\tif x:\r\n\t\treturn x\r\n\treturn 0"


def git(root, *arguments, data=None):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false"]
    done = subprocess.run(["git", *identity, "-C", root, *arguments], check=True, capture_output=True, input=data)
    return done.stdout.decode().strip()


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    git(tmp_path, "init", "-q", "-b", "main", root)

    def commit(message, **files):
        for name, content in files.items():
            path = root / (name.replace("__", "/") + ("" if name.endswith("md") else ".py"))
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        git(root, "add", "-A")
        git(root, "commit", "-q", "--allow-empty", "-F", "-", data=message.encode())
        return git(root, "rev-parse", "HEAD")

    return root, commit


def mined(root, config=CONFIG, **options):
    tree, skipped = resolve(str(root), config, root / "nowhere"), Tally()
    return list(mine_commits(tree, config, skipped, **options)), skipped.counts


def test_a_small_change_of_one_file(project):
    root, commit = project
    commit("Add the first file", a=FIRST)
    changed = FIRST.replace("return 0", "return 1").replace("\t\treturn x", "\t\treturn abs(x)")
    name = commit(
        "Return one instead of nothing (#12)\n\nThe caller divides by it.\n\nSigned-off-by: A <a@example.org>\n",
        a=changed,
    )
    (pair,), skipped = mined(root)
    assert pair.text == (
        "Return one instead of nothing\n\nThe caller divides by it.\n\n"
        "line_59 = 59\ndef f(x):\r\n\tif x:\r\n\t\treturn x\r\n\treturn 0"
    )
    assert pair.code == "line_59 = 59\ndef f(x):\r\n\tif x:\r\n\t\treturn abs(x)\r\n\treturn 1"
    assert (pair.kind, pair.language) == ("commit", "python")
    source = pair.source
    assert (source.commit, source.path, source.start_line, source.end_line) == (name, "a.py", 60, 64)
    assert skipped == {"commit that adds, removes or replaces a file": 1}


def test_what_makes_no_pair(project):
    root, commit = project
    commit("Add all of the files", a=FIRST, b=FIRST, READMEmd="# Title\n", c=b"\xff\n", d="a\0b\n")
    commit("Change two of the files", a=FIRST + "1", b=FIRST + "1")
    commit("Change a word of the page", READMEmd="# Other title\n")
    commit("Bump the version of it all", a=FIRST + "2")
    commit("oops", a=FIRST + "3")
    commit("Rewrite all the first lines", a=FIRST.replace("line_", "row_") + "3")
    commit("Indent the second file with more", b=FIRST.replace("\t", "\t\t") + "1")
    commit("Remove the last function again", b=FIRST[:200])
    commit("Change what is no text", c=b"\xfe\n")
    commit("Change what has null bytes", d="c\0d\n")
    commit("Nothing changes in this one")  # git leaves it out
    pairs, skipped = mined(root)
    assert pairs == []
    assert skipped == {
        "commit of several files": 2,
        "commit of a file that is not mined": 1,
        "commit message that says nothing": 2,
        "commit of a large change, or of space alone": 4,
        "commit of a file that is missing, too large or no text": 1,
    }


def test_lines_are_those_of_the_file_at_the_commit(project):
    root, commit = project
    lines = [f"value_{n} = {n}\n" for n in range(50)]
    commit("Add the file", sub__a="".join(lines), other="x = 1\n")
    for number in (0, 20, 49):
        lines[number] = f"value_{number} = {number} + 1\n"
        lines.insert(number, f"# Now number {number} is one more.\n")
        commit(f"Add one to the number {number}", sub__a="".join(lines))
    for place in (root, root / "sub"):
        pairs, _ = mined(place)
        assert len(pairs) == 3
        for pair in pairs:
            content = git(root, "show", f"{pair.source.commit}:{pair.source.path}").split("\n")
            assert content[pair.source.start_line - 1 : pair.source.end_line] == pair.code.split("\n")
    assert len(mined(root, max_commits_config(1))[0]) == 1
    assert mined(root, revision="HEAD; rm")[0] == []


def max_commits_config(number):
    return CorpusConfig(kinds=("commit",), max_commits=number)


def test_a_commit_with_files_outside_the_source_is_one_of_several_files(project):
    root, commit = project
    commit("Add the files", sub__a=FIRST, other="x = 1\n")
    commit("Change two files of the project", sub__a=FIRST + "1", other="x = 2\n")
    assert mined(root / "sub") == ([], {"commit of several files": 2})


def test_the_corpus_holds_them_and_inspect_finds_them(project, tmp_path):
    root, commit = project
    commit("Add the file", a=FIRST)
    commit("Return one instead of nothing", a=FIRST.replace("return 0", "return 1"))
    config = CorpusConfig(kinds=("commit",), sources=(str(root),), dev_share=0, test_share=0)
    workdir = Workdir(tmp_path / "run")
    assert build_corpus(config, workdir).manifest["counts"]["kinds"] == {"commit": 1}
    (pair,) = read_pairs(workdir, "train")
    commit("Change it again after that", a=FIRST.replace("return 0", "return 2"))
    origin = find_origin(pair, config, workdir.path)
    assert (origin.equal, origin.file) == (True, f"{pair.source.commit}:a.py")
    assert "\n".join(origin.lines) == pair.code.replace("\r", "")


def test_a_directory_that_is_no_checkout_has_no_commits(project, tmp_path):
    root, commit = project
    commit("Add the file", a=FIRST)
    commit("Return one instead of nothing", a=FIRST.replace("return 0", "return 1"))
    inside = root / "untracked"
    inside.mkdir()
    (inside / "b.py").write_text("x = 1\n")
    assert mined(inside) == ([], {})


def test_nothing_of_the_repository_is_run_or_fetched(project, tmp_path):
    root, commit = project
    commit("Add the file", a=FIRST)
    commit("Return one instead of nothing", a=FIRST.replace("return 0", "return 1"))
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    program.chmod(0o755)
    for key in ("diff.a.textconv", "diff.a.command", "diff.external", "gpg.program", "core.pager", "core.fsmonitor"):
        git(root, "config", key, str(program))
    git(root, "config", "log.showSignature", "true")
    signed = git(root, "cat-file", "commit", "HEAD").replace(
        "\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n\n", 1
    )
    name = git(root, "hash-object", "-t", "commit", "-w", "--stdin", data=f"{signed}\n".encode())
    git(root, "update-ref", "HEAD", name)
    git(root, "config", "core.hooksPath", str(tmp_path))
    (root / ".gitattributes").write_text("* diff=a\n")
    (root / ".git" / "info" / "attributes").write_text("* diff=a filter=a\n")
    assert len(mined(root)[0]) == 1
    # A partial clone: the content before the change is to be fetched when it is read.
    git(root, "config", "core.repositoryFormatVersion", "1")
    git(root, "config", "extensions.partialClone", "origin")
    git(root, "config", "remote.origin.url", f"ext::{program}")
    git(root, "config", "remote.origin.promisor", "true")
    git(root, "config", "protocol.ext.allow", "always")
    blob = git(root, "rev-parse", "HEAD~1:a.py")
    os.unlink(root / ".git" / "objects" / blob[:2] / blob[2:])
    assert mined(root)[1]["commit of a file that is missing, too large or no text"] == 1
    assert not ran.exists()
