import os
import platform
import re
import socket
import subprocess

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.checkout import repository_name
from t2c_jax.corpus.exclusion import Exclusion
from t2c_jax.corpus.licences import guess_licence
from t2c_jax.corpus.sources import FileTree, PairsFile, resolve, resolve_all
from t2c_jax.errors import UserError

CONFIG = CorpusConfig()
APACHE = "Apache License\n  Version 2.0, January 2004\n"


def git(root, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, "-C", str(root), *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "clone"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "a.py").write_text("x = 1\n")
    (root / "README.md").write_text("# T\n")
    (root / "notes.txt").write_text("T\n")
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
    program = f"touch {ran}; cat"
    git(checkout, "config", "core.fsmonitor", f"touch {ran}; true")
    git(checkout, "config", "gpg.program", program)
    git(checkout, "config", "log.showSignature", "true")
    for key in ("clean", "smudge", "process"):
        git(checkout, "config", f"filter.a.b.{key}", program)
    git(checkout, "config", "filter.a.b.required", "true")
    (checkout / ".git" / "info" / "attributes").write_text("* filter=a.b\n")
    (checkout / "README.md").touch()  # so that git compares the file with its object
    os.utime(checkout / "README.md", (1, 1))
    tree = resolve(str(checkout), CONFIG, tmp_path / "workdir")
    assert not ran.exists()
    assert len(tree.commit) == 40


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


def test_the_digest_changes_with_the_files_that_are_read(tmp_path):
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


def test_package(tmp_path, monkeypatch):
    """The files that the package installed, and no others beside them."""
    site, workdir = tmp_path / "site", tmp_path / "workdir"
    metadata = site / "some_thing-1.2.dist-info"
    metadata.mkdir(parents=True)
    (site / "thing").mkdir()
    (site / "thing" / "a.py").write_text("x = 1\n")
    (site / "other.py").write_text("x = 1\n")
    (tmp_path / "bin.py").write_text("x = 1\n")
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: some-thing\nVersion: 1.2\nLicense-Expression: MIT\n"
    )
    (metadata / "RECORD").write_text("../bin.py,,\nthing/a.py,,\nthing/gone.py,,\nthing/a.so,,\n")
    monkeypatch.syspath_prepend(str(site))
    tree = resolve("package:some-thing", CONFIG, workdir)
    assert isinstance(tree, FileTree)
    assert (tree.files, tree.root, tree.repository) == (("thing/a.py",), site, "package:some-thing")
    assert (tree.commit, tree.licence) == ("1.2", "MIT")
    by_import = resolve("package:thing", CONFIG, workdir)
    assert isinstance(by_import, FileTree)
    assert (by_import.files, by_import.commit) == (tree.files, "1.2")
    with pytest.raises(UserError, match="did you mean 'package:some-thing'"):
        resolve("package:some-thin", CONFIG, workdir)
    (metadata / "RECORD").write_text("../bin.py,,\n")
    with pytest.raises(UserError, match="has no files that config"):
        resolve("package:some-thing", CONFIG, workdir)


@pytest.mark.parametrize(
    ("field", "text", "licence"),
    [
        ("License: BSD 3-Clause", APACHE, "BSD 3-Clause"),
        ("License: " + "Permission is granted. " * 9, APACHE, "Apache-2.0"),
        ("Classifier: License :: OSI Approved :: MIT License", "Of our own.", "MIT License"),
    ],
)
def test_licence_of_a_package(field, text, licence, tmp_path, monkeypatch):
    metadata = tmp_path / "thing-1.dist-info"
    (metadata / "licenses").mkdir(parents=True)
    (tmp_path / "thing.py").write_text("x = 1\n")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: thing\nVersion: 1\n{field}\n")
    (metadata / "licenses" / "LICENSE").write_text(text)
    (metadata / "RECORD").write_text("thing.py,,\nthing-1.dist-info/licenses/LICENSE,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    tree = resolve("package:thing", CONFIG, tmp_path / "workdir")
    assert isinstance(tree, FileTree)
    assert tree.licence == licence


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("package:", "no such package is installed"),
        ("nowhere", "source 'nowhere' does not exist"),
        ("nowhere.jsonl", "source 'nowhere.jsonl' does not exist"),
        ("https://example.org/owner/name", "clone or download it first"),
        ("git@example.org:owner/name", "clone or download it first"),
        ("python:stdlb", "did you mean 'python:stdlib'?"),
        ("/dev/null", "is no directory, no file of pairs"),
    ],
)
def test_what_is_no_source_is_named(name, says, tmp_path):
    with pytest.raises(UserError, match=r"source '") as caught:
        resolve(name, CONFIG, tmp_path)
    assert says in str(caught.value)


FILES = ("a.py", "b.py", "tests/a.py", "tests/unit/a_test.py", "lib/tests/b.py", "lib/x_pb2.py")


# name: (patterns, files that stay, patterns that matched nothing)
EXCLUDED = {
    "a name": (["tests"], {"a.py", "b.py", "lib/x_pb2.py"}, []),
    "a directory": (["tests/"], {"a.py", "b.py", "lib/x_pb2.py"}, []),
    "from the root": (["/tests/**"], {"a.py", "b.py", "lib/tests/b.py", "lib/x_pb2.py"}, []),
    "one level": (["tests/*"], {"a.py", "b.py", "lib/tests/b.py", "lib/x_pb2.py"}, []),
    "anywhere": (["*_pb2.py"], set(FILES) - {"lib/x_pb2.py"}, []),
    "any depth": (["**/tests/b.py"], set(FILES) - {"lib/tests/b.py"}, []),
    "again included": (["*.py", "!a.py"], {"a.py", "tests/a.py"}, []),
    "in an excluded directory": (["tests", "!tests/a.py"], {"a.py", "b.py", "lib/x_pb2.py"}, ["!tests/a.py"]),
    "another syntax": (["./tests/**", "{a,b}.py", "a.py"], {"b.py", *FILES[3:]}, ["./tests/**", "{a,b}.py"]),
    "a comment": (["#a.py", "[!a].py"], set(FILES) - {"b.py", "lib/tests/b.py"}, ["#a.py"]),
    "none": ([], set(FILES), []),
}


@pytest.mark.parametrize("name", EXCLUDED)
def test_the_same_files_are_excluded_from_a_directory_and_a_checkout(name, tmp_path, capsys):
    patterns, kept, unmatched = EXCLUDED[name]
    for path in FILES:
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / path).write_text("x = 1\n")
    config = CorpusConfig(sources=(str(tmp_path / "root"),), exclude=tuple(patterns))
    for is_checkout in (False, True):
        if is_checkout:
            git(tmp_path / "root", "init")
            git(tmp_path / "root", "add", ".")
        capsys.readouterr()
        (tree,) = resolve_all(config, tmp_path / "workdir")
        assert set(tree.files) == kept
        said = " ".join(capsys.readouterr().err.split())
        assert [pattern for pattern in patterns if f"'{pattern}' matches nothing" in said] == unmatched


def test_a_pattern_is_matched_if_any_source_has_a_path_for_it(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text("x = 1\n")
    sources = (str(tmp_path / "one"), str(tmp_path / "two"))
    trees = resolve_all(CorpusConfig(sources=sources, exclude=("two.py",)), tmp_path / "workdir")
    assert [tree.files for tree in trees] == [("one.py",), ()]
    assert "matches nothing" not in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["[z-a]*.py", "!"])
def test_what_is_no_pattern_is_named(pattern):
    with pytest.raises(UserError, match=re.escape(f"config.corpus.exclude: '{pattern}' is no pattern of gitignore")):
        Exclusion(["*.md", pattern])


@pytest.fixture
def with_submodules(checkout, tmp_path):
    """The checkout with two submodules, of which the second is not initialised, and one in the first."""
    for name in ("inner", "other"):
        root = tmp_path / name
        root.mkdir()
        (root / f"{name}.py").write_text("x = 1\n")
        (root / "LICENSE").write_text(MIT)
        git(root, "init")
        git(root, "add", ".")
        git(root, "commit", "-m", "first")
    for root, inside, path in ((tmp_path / "other", "inner", "deep"), (checkout, "other", "libs/other")):
        git(root, "-c", "protocol.file.allow=always", "submodule", "add", str(tmp_path / inside), path)
        git(root, "commit", "-m", "submodule")
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "update", "--init", "--recursive")
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", str(tmp_path / "inner"), "libs/absent.py")
    git(checkout, "submodule", "deinit", "-f", "libs/absent.py")
    return checkout


def test_submodules_are_repositories_of_their_own(with_submodules, tmp_path):
    source = str(with_submodules)
    trees = resolve_all(CorpusConfig(sources=(source,)), tmp_path / "workdir")
    assert [tree.name for tree in trees] == [source, f"{source}/libs/other", f"{source}/libs/other/deep"]
    assert [tree.files for tree in trees] == [("README.md", "pkg/a.py"), ("other.py",), ("inner.py",)]
    assert [tree.repository for tree in trees] == ["clone", "other", "inner"]
    assert [tree.licence for tree in trees] == ["", "MIT", "MIT"]
    assert [tree.commit for tree in trees[1:]] == [head(tmp_path / "other"), head(tmp_path / "inner")]
    assert trees[0].skipped.examples == {"submodule that is not initialised": ["libs/absent.py"]}


def test_a_submodule_is_excluded_by_its_path_in_the_source(with_submodules, tmp_path):
    def names(*exclude, sources=(str(with_submodules),)):
        return [tree.name for tree in resolve_all(CorpusConfig(sources=sources, exclude=exclude), tmp_path / "workdir")]

    source = str(with_submodules)
    assert names("/libs") == [source]
    assert names("/libs/other/deep") == [source, f"{source}/libs/other"]
    # One that is a source itself is mined once, under its own name.
    both = (source, f"{source}/./libs/other/deep")
    assert names("x", sources=both) == [source, f"{source}/libs/other", both[1]]


MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this"
APACHE = "Apache License\nVersion 2.0, January 2004\nhttp://www.apache.org/licenses/\n"
GPL = "GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007 ... the GNU Affero General Public License version 3"
LGPL = "GNU LESSER GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007 ... version 3 of the GNU General Public License"
BSD = "Redistribution and use in source and binary forms, with or without"
# name: (text, licence)
LICENCES = {
    "MIT": (f"MIT License\n\n{MIT}", "MIT"),
    "MIT with a reserved copyright": (f"Copyright (c) 2020 A\nAll rights reserved.\n\n{MIT}", "MIT"),
    "MIT after prose": (f"This software is released under the MIT license:\n\n{MIT}", "MIT"),
    "Apache-2.0": (f"{APACHE} ... {MIT}", "Apache-2.0"),
    "Apache-2.0 by its notice": (
        'Copyright 2020 A\n\nLicensed under the Apache License, Version 2.0 (the "License")',
        "Apache-2.0",
    ),
    "GPL-3.0": (GPL, "GPL-3.0"),
    "AGPL-3.0": ("GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3 ... GNU General Public License version 3", "AGPL-3.0"),
    "BSD-3-Clause": (f"Copyright A.\nAll rights reserved.\n\n{BSD} ... 3. Neither the name of the", "BSD-3-Clause"),
    "BSD-2-Clause": (BSD, "BSD-2-Clause"),
    "an identifier": ("SPDX-License-Identifier: EUPL-1.2\n\nwords", "EUPL-1.2"),
    "BUSL": ("Business Source License 1.1\n\nParameters\n\nChange License: Apache License, Version 2.0", "BUSL-1.1"),
    "BUSL by its trademark": (
        'License text copyright (c) 2020 A, All Rights Reserved. "Business Source License" is a trademark of A.\n\n'
        "Parameters\nChange License: Mozilla Public License 2.0\n\nBusiness Source License 1.1\n",
        "BUSL-1.1",
    ),
    "Commons Clause before": (
        f'"Commons Clause" License Condition v1.0\n\nThe Software ... Apache 2.0\n\n{APACHE}',
        "",
    ),
    "Commons Clause behind": (f"{APACHE}\n ... \n\nCommons Clause License Condition v1.0\n", ""),
    "FSL, Apache": (
        "# Functional Source License, Version 1.1, Apache 2.0 Future License\n\nFSL-1.1-Apache-2.0",
        "FSL-1.1-ALv2",
    ),
    "FSL, MIT": ("# Functional Source License, Version 1.1, MIT Future License\n\nFSL-1.1-MIT", "FSL-1.1-MIT"),
    "SSPL": (
        "Server Side Public License\nVERSION 1, OCTOBER 16, 2018\n ... GNU Affero General Public License, version 3",
        "SSPL-1.0",
    ),
    "Elastic": (f"Elastic License 2.0\n\nURL: https://example.org\n ... {MIT}", "Elastic-2.0"),
    "a licence of its own": (f"Acme Source License 1.0\n\nBased on the Apache License, Version 2.0.\n{APACHE}", ""),
    "reserved": ("All rights reserved.", ""),
    "reserved, with a part of others": (
        f"Copyright (c) 2024 Acme. All rights reserved.\n\nThis includes code of others:\n\nCopyright B\n{MIT}",
        "",
    ),
    "proprietary, with a part of others": (
        f"This software is the property of Acme and may not be copied.\n\nThird-party notices\n\n{BSD}",
        "",
    ),
    "reserved, with an identifier of others": (
        "Copyright Acme. All rights reserved.\nNo license is granted.\n\nlibs/x:\nSPDX-License-Identifier: MIT\n",
        "",
    ),
}


NOTICE = """This program is free software; you can redistribute it and/or modify
it under the terms of the GNU General Public License as published by
the Free Software Foundation; version 2 of the License.
"""
POSTGRESQL = """Permission to use, copy, modify, and distribute this software and its documentation for any purpose,
without fee, and without a written agreement is hereby granted, provided that the above
copyright notice appears in all copies.
"""


@pytest.mark.parametrize("name", LICENCES)
def test_licence_files(name, tmp_path):
    text, licence = LICENCES[name]
    (tmp_path / "LICENSE.txt").write_text(text)
    assert guess_licence(tmp_path) == licence


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"COPYING": GPL, "COPYING.LESSER": LGPL}, "LGPL-3.0"),
        ({"LICENSE-APACHE": APACHE, "LICENSE-MIT": MIT}, "Apache-2.0 OR MIT"),
        (
            {
                "LICENSE": "Under either of LICENSE.APACHE2 or LICENSE.MIT.",
                "LICENSE.APACHE2": APACHE,
                "LICENSE.MIT": MIT,
            },
            "Apache-2.0 OR MIT",
        ),
        ({"LICENSE": APACHE, "LICENSE-3RD-PARTY": MIT, "LICENSE-docs.md": "CC0 1.0 Universal"}, "Apache-2.0"),
        ({"LICENSE": "Copyright Acme. All rights reserved.", "LICENSE-MIT": MIT}, ""),
        (
            {"LICENSE": f"Copyright (c) 2014 Acme. All rights reserved.\n\n{NOTICE}", "COPYING": GPL.replace("3", "2")},
            "GPL-2.0",
        ),
        ({"LICENSE": NOTICE.replace("GNU", "GNU Affero").replace("version 2", "either version 3")}, "AGPL-3.0"),
        (
            {"LICENSE": f"The thing is released under the PostgreSQL License.\n\nCopyright A\n\n{POSTGRESQL}"},
            "PostgreSQL",
        ),
        ({"LICENSE.md": APACHE, "license.py": MIT}, "Apache-2.0"),
        ({"UNLICENSE": "This is free and unencumbered software released into the public domain."}, "Unlicense"),
    ],
)
def test_licences_side_by_side(files, licence, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
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
