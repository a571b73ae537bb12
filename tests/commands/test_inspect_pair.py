"""``t2c inspect --pair``: the lines of a pair, and whether they still give it."""

import json
import subprocess

import pytest
from small_run import main

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.pair_origin import find_origin, find_pair
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

PYTHON = '''# A module.

class Thing:
    def double(self, number):
        """Return twice the number that is given.

        >>> Thing().double(2)
        4
        """
        # Add the number to itself once.
        result = number + number
        return result\r
'''
README = (
    "# Thing\r\n\r\nMake a thing and double a number:\r\n\r\n```python\r\nthing = Thing()\r\nthing.double(3)\r\n```\r\n"
)
GUIDE = "Guide\n=====\n\nMake a thing in the shell::\n\n  $ make\n\nOr in Python::\n\n  thing = Thing().double(4)\n"
KINDS = ("method", "class", "markdown", "restructuredtext", "notebook", "comment", "example")


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / "thing.py").write_bytes(PYTHON.encode())
    (root / "README.md").write_bytes(README.encode())
    (root / "guide.rst").write_text(GUIDE)
    cells = [
        {"cell_type": "markdown", "source": "Call it with a number."},
        {"cell_type": "code", "source": "double(5) + 1"},
    ]
    (root / "book.ipynb").write_text(json.dumps({"cells": cells, "metadata": {"language_info": {"name": "python"}}}))
    return root


def git(root, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, "-C", root, *arguments], check=True, capture_output=True)


def built(tmp_path, *sources, **config):
    shares = {"dev_share": 0, "test_share": 0, "min_code_chars": 5}
    config = CorpusConfig(
        **{"sources": tuple(map(str, sources)), "kinds": KINDS, "text": "docstring", **shares, **config}
    )
    workdir = Workdir(tmp_path / "run")
    build_corpus(config, workdir)
    return workdir, config


def origins(workdir, config):
    return [find_origin(pair, config, workdir.path) for pair in read_pairs(workdir, "train")]


def test_every_kind_is_found_byte_for_byte(project, tmp_path):
    workdir, config = built(tmp_path, project)
    found = origins(workdir, config)
    assert {origin.pair.kind for origin in found} == set(KINDS) - {"class"}
    for origin in found:
        assert (origin.equal, origin.note) == (True, "")
        lines = (project / origin.pair.source.path).read_bytes().decode().split("\n")
        shown = lines[origin.pair.source.start_line - 1 : origin.pair.source.end_line]
        assert [line.removesuffix("\r") for line in shown] == list(origin.lines)
    codes = {origin.pair.kind: origin.pair.code for origin in found}
    assert codes["markdown"] == "thing = Thing()\r\nthing.double(3)"
    assert codes["comment"] == "result = number + number\nreturn result"


def test_a_changed_source_is_said(project, tmp_path):
    workdir, config = built(tmp_path, project)
    (project / "thing.py").write_text(PYTHON.replace("twice", "two times"))
    (project / "README.md").unlink()
    (project / "guide.rst").write_text("\n" + GUIDE)
    notes = {origin.pair.kind: (origin.equal, origin.note) for origin in origins(workdir, config)}
    assert notes["method"] == (False, "the file gives another pair now")
    assert notes["restructuredtext"] == (False, "the file gives no pair of these lines any more")
    assert notes["markdown"][0] is None
    assert "README.md': unreadable file (ENOENT)" in notes["markdown"][1]
    pair = find_origin(
        next(iter(read_pairs(workdir, "train"))), CorpusConfig(sources=(str(tmp_path / "run"),)), tmp_path
    )
    assert pair.note == "no source of config.corpus.sources is 'project' any more"


def test_an_older_commit_is_read_from_git(project, tmp_path):
    git(tmp_path, "init", "-q", project)
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "All")
    workdir, config = built(tmp_path, project)
    (project / "thing.py").write_text("x = 1\n")
    git(project, "commit", "-q", "-a", "-m", "Other")
    for origin in origins(workdir, config):
        assert (origin.equal, origin.note) == (True, "")
        assert origin.file == f"{origin.pair.source.commit}:{origin.pair.source.path}"


def test_pairs_of_files(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.csv").write_text('text,code\n"Return the number one.","def f():\n    return 1"\n')
    workdir, config = built(tmp_path, tmp_path / "set" / "a.csv")
    (origin,) = origins(workdir, config)
    assert (origin.equal, origin.lines) == (True, ("Return the number one.", "def f():", "    return 1"))
    (tmp_path / "set" / "a.csv").write_text('text,code\n"Return the number two.","def f():\n    return 1"\n')
    (origin,) = origins(workdir, config)
    assert (origin.equal, origin.note) == (False, "the file holds another pair there now")


def test_the_command(project, tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(
        "from t2c_jax import config as schema\n\n\ndef get_config():\n    config = schema.default()\n"
        f"    config.corpus.sources = ({str(project)!r},)\n    config.corpus.dev_share = config.corpus.test_share = 0\n"
        "    return config\n"
    )
    workdir = tmp_path / "run"
    assert main("mine", "--config", config, "--workdir", workdir) == 0
    pair = next(pair for pair in read_pairs(Workdir(workdir), "train") if pair.kind == "method")
    assert find_pair(Workdir(workdir), pair.id) == pair
    capsys.readouterr()
    assert main("inspect", "--workdir", workdir, "--pair", pair.id, "--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["equal"], result["pair"]["id"]) == (True, pair.id)
    assert result["lines"][0] == "    def double(self, number):"
    assert "thing.py gives this text and this code, byte for byte" in printed.err
    assert "     4      def double(self, number):" in printed.err
    assert main("inspect", "--workdir", workdir, "--pair", "nothing") == 2
    assert "has no pair 'nothing'" in capsys.readouterr().err
    with pytest.raises(UserError, match="no pair"):
        find_pair(Workdir(workdir), pair.id[:5])
    assert main("inspect", "--pair", pair.id) == 2
    assert "--pair needs --workdir" in capsys.readouterr().err
