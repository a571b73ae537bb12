"""Where compiled programs are kept for the next start."""

import os

import pytest

from t2c_jax import runtime

NAME = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    monkeypatch.setenv(NAME, "taken back after the test")
    monkeypatch.delenv(NAME)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def test_in_the_users_cache_apart_for_each_kind_of_cpu(tmp_path):
    runtime.keep_compiled()
    (directory,) = (tmp_path / "t2c_jax").iterdir()
    assert os.environ[NAME] == str(directory)
    assert directory.name == f"xla-{runtime.processor()}"


@pytest.mark.parametrize("value", ["elsewhere", ""])
def test_the_users_own_directory_is_kept(value, monkeypatch, tmp_path):
    monkeypatch.setenv(NAME, value)
    runtime.keep_compiled()
    assert os.environ[NAME] == value
    assert not list(tmp_path.iterdir())


def test_nowhere_where_nothing_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    runtime.keep_compiled()
    assert NAME not in os.environ


@pytest.mark.parametrize("value", [None, "2"])
def test_short_compilations_are_kept_too(value, monkeypatch):
    name = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
    monkeypatch.setenv(name, "taken back after the test")
    monkeypatch.delenv(name)
    if value:
        monkeypatch.setenv(name, value)
    runtime.keep_compiled()
    assert float(os.environ[name]) == float(value or 0.05)
