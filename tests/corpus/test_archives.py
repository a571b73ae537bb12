"""Archives as sources: the pairs of the unpacked directory, and nothing of what hostile archives try."""

import dataclasses
import io
import json
import os
import random
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus import archives
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.pair_origin import find_origin
from t2c_jax.corpus.sources import resolve
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

CODE = 'def f(x):\n    """Adds one to it."""\n    return x + {number}\n'
MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy\n"


def project(root, files=30):
    for number in range(files):
        path = root / f"package_{number % 5}" / f"module_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CODE.format(number=number))
    (root / "README.md").write_text("# Tool\n\nCall it like this, please:\n\n```python\nf(1) + f(2) + f(345)\n```\n")
    (root / "LICENSE").write_text(MIT)
    (root / "data.bin").write_bytes(bytes(5000))
    return root


def pairs_of(source, run):
    workdir = Workdir(run)
    build_corpus(CorpusConfig(sources=(str(source),), near_duplicates=0.0), workdir, workers=2)
    return {pair.id: pair for split in ("train", "dev", "test") for pair in read_pairs(workdir, split)}


def packed(root, path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, file.relative_to(root.parent))
    elif path.name.endswith("zst"):
        import pyarrow

        plain = packed(root, path.with_name("plain.tar"))
        with pyarrow.output_stream(str(path), compression="zstd") as out:
            out.write(plain.read_bytes())
    else:
        with tarfile.open(
            path, f"w:{'' if path.suffix == '.tar' else path.suffix[1:].replace('tgz', 'gz')}"
        ) as archive:
            archive.add(root, root.name)
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "A.TGZ", "a.tar.bz2", "a.tar.xz", "a.tar.zst"])
def test_an_archive_gives_what_its_directory_gives(name, tmp_path):
    root = project(tmp_path / "project")
    path = packed(root, tmp_path / name.lower()).rename(tmp_path / name)
    found, expected = pairs_of(path, tmp_path / "archive"), pairs_of(root, tmp_path / "directory")
    assert found == expected
    assert len(found) == 31
    assert {pair.source.licence for pair in found.values()} == {"MIT"}


def test_a_pair_is_found_in_its_archive(tmp_path):
    path = packed(project(tmp_path / "project"), tmp_path / "a.tgz")
    config = CorpusConfig(sources=(str(path),))
    for pair in list(pairs_of(path, tmp_path / "run").values())[::10]:
        origin = find_origin(pair, config, Path("nowhere"))
        assert origin.file == f"{path}:project/{pair.source.path}"
        assert origin.equal
        assert pair.code.splitlines()[-1] in origin.lines


def test_the_commit_of_git_archive_is_kept(tmp_path):
    root = project(tmp_path / "project", files=3)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(root)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "m"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    for kind in ("zip", "tar.gz"):
        path = tmp_path / f"project.{kind}"
        subprocess.run(
            [*git, "archive", f"--format={kind}", "--prefix=project-1/", f"--output={path}", "HEAD"], check=True
        )
        tree = resolve(str(path), CorpusConfig(), Path("nowhere"))
        assert (tree.repository, tree.commit, tree.licence) == ("project-1", commit, "MIT")


def tar_member(name, kind=tarfile.REGTYPE, data=b"", **values):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, len(data)
    for key, value in values.items():
        setattr(member, key, value)
    return member, io.BytesIO(data)


def test_hostile_members_are_counted_and_nothing_leaves_the_folder(tmp_path):
    good, outside = CODE.format(number=1).encode(), tmp_path / "outside.py"
    outside.write_text(CODE.format(number=2))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for member in (
            tar_member("p/good.py", data=good),
            tar_member("p/good.py", data=CODE.format(number=3).encode()),
            tar_member("../outside.py", data=good),
            tar_member("p/../../outside.py", data=good),
            tar_member(str(outside), data=good),
            tar_member("p/link.py", tarfile.SYMTYPE, linkname=str(outside)),
            tar_member("p/hard.py", tarfile.LNKTYPE, linkname="p/good.py"),
            tar_member("p/pipe.py", tarfile.FIFOTYPE),
            tar_member("p/device.py", tarfile.CHRTYPE, devmajor=1, devminor=5),
            tar_member("p/large.py", data=b"#" * 2_000_000),
            tar_member("p/new\nline.py", data=CODE.format(number=4).encode()),
        ):
            archive.addfile(*member)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, mode in (("p/good.py", stat.S_IFREG), ("p/link.py", stat.S_IFLNK), ("p/pipe.py", stat.S_IFIFO)):
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode | 0o644) << 16
            archive.writestr(info, good)
        archive.writestr("../outside.py", good)
        archive.writestr("/outside.py", good)
        info = zipfile.ZipInfo("p/damaged.py")
        archive.writestr(info, b"#" * 1000)
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"#" * 1000, b"#" * 999 + b"!"))
    everything = sorted(tmp_path.rglob("*"))
    reasons = {}
    for name in ("a.tar", "a.zip"):
        config = CorpusConfig(sources=(str(tmp_path / name),), min_code_chars=0)
        workdir = Workdir(tmp_path.parent / f"run of {tmp_path.name} {name}")
        build_corpus(config, workdir, workers=1)
        (source,) = json.loads((workdir.corpus / "card.json").read_text())["sources"]
        codes = [pair.code for split in ("train", "dev", "test") for pair in read_pairs(workdir, split)]
        assert sorted(codes)[0] == "def f(x):\n    return x + 1"
        reasons[name] = {reason: found["count"] for reason, found in source["skipped"].items()}
    assert sorted(tmp_path.rglob("*")) == everything
    assert reasons["a.tar"] == {
        "path that leaves the archive": 3,
        "name of another member": 1,
        "symbolic link": 1,
        "hard link": 1,
        "not a regular file": 2,
        "larger than max_file_bytes": 1,
    }
    assert reasons["a.zip"] == {
        "path that leaves the archive": 2,
        "symbolic link": 1,
        "not a regular file": 1,
        "damaged member (BadZipFile)": 1,
    }


def test_bombs_end_the_stage_in_little_memory(tmp_path):
    with tarfile.open(tmp_path / "large.tar.xz", "w:xz") as archive:
        archive.addfile(*tar_member("p/zeros.bin", data=bytes(150_000_000)))
    header = tarfile.TarInfo("p/x.py")
    header.type, header.size = tarfile.XHDTYPE, 90_000_000  # a header that describes the next one
    (tmp_path / "header.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + bytes(90_000_000))
    for name, message in (
        ("large.tar.xz", "unpacks to more than 200 times its size"),
        ("header.tar", "a header of more"),
    ):
        script = (
            "import resource, sys\nfrom pathlib import Path\nfrom t2c_jax.config import CorpusConfig\n"
            "from t2c_jax.corpus.sources import resolve\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try:\n    resolve(sys.argv[1], CorpusConfig(), Path('nowhere'))\n"
            "except Exception as error:\n    print(type(error).__name__, error)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("UserError ")
        assert message in done.stdout
        assert done.stdout.endswith("True\n")


def test_a_zip_that_repeats_one_member_is_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 1000)
    monkeypatch.setattr(archives, "_MOST_EXPANSION", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"p/{number}.py", b"#" * 900_000)
    with pytest.raises(UserError, match="unpacks to more than 2 times its size; if you trust it, unpack it"):
        build_corpus(CorpusConfig(sources=(str(tmp_path / "a.zip"),)), Workdir(tmp_path / "run"), workers=1)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.tar.zst"])
def test_what_is_no_archive_or_cut_is_one_line(name, tmp_path):
    path = packed(project(tmp_path / "project"), tmp_path / name)
    whole = path.read_bytes()
    for content in (b"", b"no archive at all" * 100, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is damaged or no archive: .*; download or pack it again"):
            resolve(str(path), CorpusConfig(), Path("nowhere"))


def test_random_bytes_raise_nothing_else(tmp_path):
    draw = random.Random(0)
    for name in ("a.zip", "a.tar", "a.tgz"):
        path = packed(project(tmp_path / "project", files=3), tmp_path / name)
        whole = path.read_bytes()
        for _ in range(150):
            content = bytearray(whole)
            for _ in range(draw.randint(1, 20)):
                content[draw.randrange(len(content))] = draw.randrange(256)
            path.write_bytes(content)
            try:
                tree = resolve(str(path), CorpusConfig(), Path("nowhere"))
            except UserError:
                continue
            assert len(tree.files) <= 10


def test_what_is_excluded_is_not_listed(tmp_path):
    path = packed(project(tmp_path / "project"), tmp_path / "a.tgz")
    config = dataclasses.replace(CorpusConfig(), exclude=("package_1/", "*.md"))
    tree = resolve(str(path), config, Path("nowhere"))
    assert len(tree.files) == 24
    assert os.path.dirname(tree.files[0]) == "package_0"
