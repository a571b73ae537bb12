"""Models of a local Hugging Face cache by name: as ``huggingface_hub`` finds them, or why there is none."""

import re

import pytest
from huggingface_models import write
from small_run import main

from t2c_jax.errors import UserError
from t2c_jax.interop.hub_cache import cache_directory, model_directory

hub = pytest.importorskip("huggingface_hub")

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def home(tmp_path):
    """HF_HOME with a model of two revisions, its files links into ``blobs`` as a download leaves them."""
    folder = tmp_path / "hub" / "models--org--tiny-t5"
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs" / "pr").mkdir(parents=True)
    for commit, text in ((OLD, "{}"), (NEW, '{"a": 1}')):
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "blobs" / commit).write_text(text)
        (folder / "snapshots" / commit / "config.json").symlink_to(f"../../blobs/{commit}")
    (folder / "refs" / "main").write_text(NEW)
    (folder / "refs" / "pr" / "1").write_text(OLD)
    return tmp_path


def found(home, source):
    return model_directory(source, {"HF_HOME": str(home)})


@pytest.mark.parametrize("revision", [None, "main", "pr/1", OLD])
def test_a_revision_is_the_one_that_the_hub_finds(revision, home):
    expected = hub.snapshot_download("org/tiny-t5", cache_dir=home / "hub", revision=revision, local_files_only=True)
    assert str(found(home, "org/tiny-t5" + (f"@{revision}" if revision else ""))) == expected


def test_the_only_snapshot_needs_no_name(home):
    folder = home / "hub" / "models--org--tiny-t5"
    (folder / "refs" / "main").unlink()
    with pytest.raises(UserError, match=f"several snapshots .* and no 'main'; name one: NAME@{OLD}, {NEW}"):
        found(home, "org/tiny-t5")
    (folder / "snapshots" / OLD / "config.json").unlink()
    (folder / "snapshots" / OLD).rmdir()
    assert found(home, "org/tiny-t5").name == NEW


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("org/tiny-t6", "neither a directory nor a model of the local .* did you mean 'org/tiny-t5'"),
        ("another", "it holds 1 models.* download it with 'hf download another', or set HF_HOME"),
        ("org/tiny-t5@v2", f"has no snapshot of v2; it has {OLD}, {NEW}"),
        ("../hub", "'../hub' is no directory"),
        ("org/tiny-t5@../../../etc", "is no directory"),
        ("a/b/c", "'a/b/c' is no directory"),
    ],
)
def test_what_is_not_there_is_said(source, message, home):
    with pytest.raises(UserError, match=message):
        found(home, source)


def test_a_ref_cannot_lead_out_of_the_cache(home):
    (home / "hub" / "models--org--tiny-t5" / "refs" / "main").write_text("../../../..")
    with pytest.raises(UserError, match="has no snapshot of main"):
        found(home, "org/tiny-t5")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, "/c"),
        ({"HF_HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({}, "/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hub_keeps_it(environment, expected):
    assert re.search(f"{expected}$", str(cache_directory(environment)))


def test_a_model_is_imported_by_its_name(tmp_path, monkeypatch):
    source = tmp_path / "home" / "hub" / "models--org--bert" / "snapshots" / OLD
    write("bert", source)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert main("import", "--from", "org/bert", "--workdir", tmp_path / "run") == 0
    assert (tmp_path / "run" / "config.json").is_file()
