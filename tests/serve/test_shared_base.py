"""Runs with adapters over one base: its arrays are in memory once, and answers are those of merged parameters."""

import gc
import json
import shutil
import weakref
from unittest import mock

import jax
import numpy as np
import pytest
from tiny_generators import extract_kept_runs

from t2c_jax import cli
from t2c_jax.commands import serve
from t2c_jax.library.run import open_run
from t2c_jax.library.serving import share_bases
from t2c_jax.models.adapted import Adapted, AdaptedSteps
from t2c_jax.serve.measures import Measures

PROMPTS = ["Return item 3 of the values.", "Return item 17 of the values."]
ONE_ROW = ("decode.batch_size=2", "decode.beam_size=2")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """``lora`` of the kept runs, and ``twin``: the same adapters under another name."""
    found = tmp_path_factory.mktemp("shared")
    extract_kept_runs(found)
    shutil.copytree(found / "lora", found / "twin")
    return found


def opened(directory, *names):
    return [open_run(str(directory / name.partition("@")[0]), step(name), overrides=ONE_ROW) for name in names]


def step(name):
    at = name.partition("@")[2]
    return int(at) if at else None


def bytes_of(*trees):
    """Bytes of all arrays, each counted once."""
    return sum({id(leaf): leaf.nbytes for tree in trees for leaf in jax.tree.leaves(tree)}.values())


def is_shared(one, other):
    return all(jax.tree.leaves(jax.tree.map(lambda ours, theirs: ours is theirs, one, other)))


def test_the_base_is_in_memory_once(directory, monkeypatch):
    monkeypatch.chdir(directory)
    merged = opened(directory, "lora")[0].generator
    expected = merged.generate(PROMPTS)
    assert not isinstance(merged.params[0], Adapted)  # alone, it has no one to share with

    base, first, second = runs = opened(directory, "half_way@4", "lora", "twin")
    share_bases(runs)
    generators = [run.generator for run in runs]
    ours, theirs = (generator.params[0] for generator in generators[1:])
    assert isinstance(ours, Adapted)
    for adapted in (ours, theirs):
        shared = jax.tree.map(lambda one, other: one is other, adapted.frozen, generators[0].params[0])
        assert all(jax.tree.leaves(shared))
    parts = bytes_of(generators[0].params), bytes_of(ours.adapters)
    assert bytes_of(*(generator.params for generator in generators)) == parts[0] + 2 * parts[1]

    for generator in generators[1:]:
        for found, wanted in zip(generator.generate(PROMPTS), expected, strict=True):
            assert found.best == wanted.best
            likely = [[each.log_probability for each in answer.hypotheses] for answer in (found, wanted)]
            np.testing.assert_allclose(*likely, rtol=1e-4)
    assert base.generate(PROMPTS) != expected

    laid_out = [generator.laid_out(generator.programs(generator.decode))[0] for generator in generators]
    assert isinstance(laid_out[1], AdaptedSteps)
    kept = {id(leaf) for leaf in jax.tree.leaves(laid_out[0])}
    for steps in laid_out[1:]:
        assert {id(leaf) for leaf in steps.kept} <= kept  # such as the tables and the feed-forward layers
        assert 0 < sum(steps.is_kept) < len(steps.is_kept)
    assert bytes_of(*laid_out[1:], *(generator.params for generator in generators), laid_out[0]) == bytes_of(
        laid_out[0], generators[0].params, ours.adapters, theirs.adapters
    )
    del first, second


def test_nothing_else_stays_in_memory(directory, monkeypatch):
    """Of what programs merge, nothing is left once they have run."""
    monkeypatch.chdir(directory)
    runs = opened(directory, "lora", "twin")
    share_bases(runs)
    generators = [run.generator for run in runs]
    for generator in generators:
        generator.generate(PROMPTS)
    gc.collect()
    before = sum(array.nbytes for array in jax.live_arrays())
    for _ in range(2):
        for generator in generators:
            generator.generate(PROMPTS)
    gc.collect()
    assert sum(array.nbytes for array in jax.live_arrays()) <= before


def test_the_command_shares_them(directory, monkeypatch):
    monkeypatch.chdir(directory)
    options = cli._parse(["serve", "--model", "one=lora", "--model", "two=twin"])
    with mock.patch("t2c_jax.runtime.connect"):
        models, _ = serve._models(options, serve._directories(options), Measures())
    assert is_shared(*(model._generator.params[0].frozen for model in models.values()))
    for model in models.values():
        model.close(drain=False)


def test_a_later_checkpoint_answers_over_the_same_base(directory, monkeypatch):
    """Of adapters: nothing but their own arrays comes anew, and those before them go."""
    monkeypatch.chdir(directory)
    ((step, expected),) = {run.step: run.generate(PROMPTS) for run in opened(directory, "lora")}.items()
    names = ("--model", "one=lora", "--model", "two=twin", "--follow", "--rows=2")
    options = cli._parse(["serve", *names, *(f"--config.{each}" for each in ONE_ROW)])
    measures, directories = Measures(), serve._directories(options)
    with mock.patch("t2c_jax.runtime.connect"):
        models, bases = serve._models(options, directories, measures)
    followers = serve._followers(options, directories, models, bases, measures)
    ours, theirs = (models[name]._generator for name in ("one", "two"))
    before, old = bytes_of(ours.params, theirs.params), weakref.ref(ours)
    del ours
    models["one"].step = step - 1  # as if the one that is there had been saved since
    followers[0].look()
    assert models["one"].step == step
    new = models["one"]._generator
    assert is_shared(new.params[0].frozen, theirs.params[0].frozen)
    assert bytes_of(new.params, theirs.params) == before
    gc.collect()
    assert old() is None
    served_answers = new.generate(PROMPTS)
    assert [answer.best for answer in served_answers] == [answer.best for answer in expected]
    for model in models.values():
        model.close(drain=False)


def test_a_base_is_kept_no_longer_than_its_models(directory, monkeypatch):
    monkeypatch.chdir(directory)
    runs = opened(directory, "lora", "twin")
    share_bases(runs)
    bases, arrays = runs[0].bases, [weakref.ref(leaf) for leaf in jax.tree.leaves(runs[0].generator.params[0].frozen)]
    assert is_shared(*(run.generator.params[0].frozen for run in runs))
    del runs
    gc.collect()
    assert bases is not None
    assert not any(array() is not None for array in arrays)


def test_a_run_with_a_reranker_keeps_its_own(directory, monkeypatch):
    monkeypatch.chdir(directory)
    runs = [
        open_run(str(directory / name), overrides=(*ONE_ROW, f"decode.rerank={rerank}"))
        for name, rerank in (("lora", True), ("twin", False))
    ]
    share_bases(runs)
    assert [run.bases for run in runs] == [None, None]
    assert json.loads((directory / "lora" / "config.json").read_text())["lora"]["rank"]
