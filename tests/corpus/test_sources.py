import os
import platform
import re
import socket
import subprocess

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.checkout import repository_name
from t2c_jax.corpus.licences import guess_licence
from t2c_jax.corpus.sources import FileTree, PairsFile, exclusion, resolve
from t2c_jax.errors import UserError

CONFIG = CorpusConfig()


def git(root, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, "-C", str(root), *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "clone"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "a.py").write_text("x = 1\n")
    (root / "README.md").write_text("# T\n")
    (root / "notes.rst").write_text("T\n")
    (root / ".gitignore").write_text("built.py\n")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    (root / "built.py").write_text("x = 1\n")
    (root / "untracked.py").write_text("x = 1\n")
    return root


def head(root):
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_checkout(checkout, tmp_path):
    git(checkout, "remote", "add", "origin", "https://user:secret@example.org/owner/name.git")
    tree = resolve(str(checkout), CONFIG, tmp_path / "workdir")
    assert isinstance(tree, FileTree)
    assert tree.files == ("README.md", "pkg/a.py")
    assert (tree.repository, tree.commit, tree.prefix) == ("example.org/owner/name", head(checkout), "")


def test_checkout_below_its_root_and_dirty(checkout, tmp_path):
    (checkout / "LICENSE").write_text("Apache License\n  Version 2.0, January 2004\n")
    (checkout / "pkg" / "a.py").write_text("x = 2\n")
    tree = resolve(str(checkout / "pkg"), CONFIG, tmp_path / "workdir")
    assert (tree.files, tree.prefix, tree.repository) == (("a.py",), "pkg/", "clone")
    assert tree.commit == f"{head(checkout)}-dirty"
    assert tree.licence == "Apache-2.0"


def test_directory_inside_a_checkout_that_does_not_track_it(checkout, tmp_path):
    (checkout / "data").mkdir()
    (checkout / "data" / "b.py").write_text("x = 1\n")
    tree = resolve(str(checkout / "data"), CONFIG, tmp_path / "workdir")
    assert (tree.files, tree.repository, tree.commit) == (("b.py",), "data", "")


def test_git_configuration_of_a_checkout_runs_nothing(checkout, tmp_path):
    ran = tmp_path / "ran"
    git(checkout, "config", "core.fsmonitor", f"touch {ran}; true")
    resolve(str(checkout), CONFIG, tmp_path / "workdir")
    assert not ran.exists()


def test_broken_checkout_is_mined_as_a_directory(tmp_path, capsys):
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    (tmp_path / "a.py").write_text("x = 1\n")
    tree = resolve(str(tmp_path), CONFIG, tmp_path / "workdir")
    assert (tree.files, tree.commit) == (("a.py",), "")
    assert "mined as a plain directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://token@example.org/owner/name.git", "example.org/owner/name"),
        ("https://example.org:8443/owner/name/", "example.org/owner/name"),
        ("ssh://git@example.org/owner/name", "example.org/owner/name"),
        ("git@example.org:owner/name.git", "example.org/owner/name"),
        ("/srv/git/name.git", "name"),
        ("../name", "name"),
        ("", ""),
    ],
)
def test_repository_names_hold_no_credentials(address, name):
    assert repository_name(address) == name


def test_directory_walk(tmp_path):
    root = tmp_path / "root"
    for path in ("b/x.py", "b.py", "a/deep/y.md", "site-packages/p.py", "a/.venv/q.py", "work/corpus/card.md", "c.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x = 1\n")
    (root / "loop").symlink_to(root)
    (root / "link.py").symlink_to(root / "b.py")
    (root / "large.py").write_bytes(b"#" * 1001)
    (root / "name.py").mkdir()
    os.mkfifo(root / "pipe.py")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket.py"))
        tree = resolve(str(root), CorpusConfig(max_file_bytes=1000), root / "work")
    assert tree.files == ("a/deep/y.md", "b.py", "b/x.py")
    assert tree.skipped.counts == {"symbolic link": 1, "larger than max_file_bytes": 1, "not a regular file": 2}
    assert tree.skipped.examples["symbolic link"] == ["link.py"]


def test_digest_follows_what_is_read(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    os.utime(tmp_path / "a.py", (1, 1))

    def now(**config):
        return resolve(str(tmp_path), CorpusConfig(**config), tmp_path / "workdir").digest

    first = now()
    (tmp_path / "unread.txt").write_text("x")
    assert now() == first
    os.utime(tmp_path / "a.py", (2, 2))
    second = now()
    assert second != first
    (tmp_path / "b.py").write_text("x = 1\n")
    assert now() != second
    assert now(exclude=("b.py",)) == second


def test_pairs_file_digest_is_of_its_bytes(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    first = resolve(str(path), CONFIG, tmp_path)
    assert isinstance(first, PairsFile)
    os.utime(path, (1, 1))
    assert resolve(str(path), CONFIG, tmp_path).digest == first.digest
    path.write_text("[]\n")
    assert resolve(str(path), CONFIG, tmp_path).digest != first.digest


def test_stdlib(tmp_path):
    tree = resolve("python:stdlib", CONFIG, tmp_path)
    assert (tree.repository, tree.commit, tree.licence) == ("python:stdlib", platform.python_version(), "PSF-2.0")
    assert {"abc.py", "asyncio/tasks.py"} <= set(tree.files)
    assert not [path for path in tree.files if "site-packages" in path]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "source 'nowhere' does not exist"),
        ("nowhere.jsonl", "source 'nowhere.jsonl' does not exist"),
        ("https://example.org/owner/name", "clone or download it first"),
        ("git@example.org:owner/name", "clone or download it first"),
        ("python:stdlb", "did you mean 'python:stdlib'?"),
        ("/dev/null", "neither a directory nor a .jsonl"),
    ],
)
def test_what_is_no_source_is_named(name, says, tmp_path):
    with pytest.raises(UserError, match=r"source '") as caught:
        resolve(name, CONFIG, tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("**/.git/**", ["x/.git/", ".git/", ".git/config", "x/.git/y/z"], ["x/.github/a.py", ".git", "a.git/x"]),
        ("*.py", ["a.py"], ["b/a.py", "apy"]),
        ("**/*_pb2.py", ["a_pb2.py", "x/y/a_pb2.py"], ["a_pb2.pyi"]),
        ("docs/**", ["docs/", "docs/a/b.md"], ["x/docs/a.md", "docs"]),
        ("a?[!b-c].md", ["axd.md"], ["axb.md", "a/d.md"]),
        ("a+(b).py", ["a+(b).py"], ["aab.py"]),
        ("[.py", ["[.py"], [".py"]),
    ],
)
def test_exclusion(pattern, yes, no):
    excluded = exclusion([pattern, "never"])
    assert [path for path in yes if not excluded(path)] == []
    assert [path for path in no if excluded(path)] == []


def test_what_is_no_pattern_is_named():
    message = "config.corpus.exclude: '[z-a]*.py' is no glob pattern: bad character range"
    with pytest.raises(UserError, match=re.escape(message)):
        exclusion(["*.md", "[z-a]*.py"])


def test_no_exclusion():
    assert not exclusion([])("a.py")


MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this"
LICENCES = {
    "MIT": f"MIT License\n\n{MIT}",
    "Apache-2.0": f"Apache License\nVersion 2.0\n ... {MIT}",
    "GPL-3.0": "GNU GENERAL PUBLIC LICENSE\n Version 3 ... the GNU Affero General Public License version 3",
    "AGPL-3.0": "GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3 ... GNU General Public License version 3",
    "BSD-3-Clause": "Redistribution and use in source and binary forms, with ... 3. Neither the name of the",
    "BSD-2-Clause": "Redistribution and use in source and binary forms, with or without",
    "EUPL-1.2": "SPDX-License-Identifier: EUPL-1.2\n\nwords",
    "": "All rights reserved.",
}


@pytest.mark.parametrize("licence", LICENCES)
def test_licence_files(licence, tmp_path):
    (tmp_path / "LICENSE.txt").write_text(LICENCES[licence])
    assert guess_licence(tmp_path) == licence


@pytest.mark.parametrize(
    ("project", "licence"),
    [
        ('license = "MIT"', "MIT"),
        ('license = {text = "BSD-3-Clause"}', "BSD-3-Clause"),
        ('license = {file = "X"}', ""),
        ("license = ", ""),
    ],
)
def test_licence_of_pyproject(project, licence, tmp_path):
    (tmp_path / "pyproject.toml").write_text(f"[project]\n{project}\n")
    assert guess_licence(tmp_path) == licence
