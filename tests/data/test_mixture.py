"""Streams of a run: the seeds of its tasks, and the message where a task finds no examples."""

import numpy as np
import pytest
from mined import Pair, with_tokenizer

from t2c_jax.config import DataConfig, ModelConfig, TaskConfig
from t2c_jax.data.mixture import open_streams, task_seed
from t2c_jax.data.prepare import build_tokens
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers

SPLITS = {
    "train": [Pair(str(n), "", f"total{n % 7} = price + {n}", "english") for n in range(400)],
    "dev": [Pair("dev", "", "x = y", "python")],
    "test": [],
}
OBJECTIVES = ("masked_identifiers", "identifier_tagging", "contrastive", "code_to_text")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = with_tokenizer(tmp_path_factory.mktemp("run"), SPLITS)
    assert build_tokens(data("identifier_tagging"), workdir, SPLITS.__getitem__).ran
    return workdir


def data(*names):
    tasks = {name: TaskConfig(name.split(":")[0]) for name in names}
    return DataConfig(encoder_length=64, decoder_length=64, tasks=tasks)


def opened(workdir, names, seed=0, split="train"):
    tokenizers = Tokenizers.load(workdir.tokenizer)
    return open_streams(workdir, split, tokenizers, data(*names), ModelConfig(), seed=seed)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_task_without_examples_reports_what_it_needs(workdir, objective):
    needs = "known" if "identifier" in objective else "text"
    with pytest.raises(UserError, match=rf"tasks\.{objective}: none of the 400 pairs .* has .*{needs}"):
        opened(workdir, (objective,))
    assert opened(workdir, (objective,), split="dev").keys() == {objective}


def sampled(workdir, names, seed):
    """For each task what its stream holds: the order of an epoch and an example."""
    streams = opened(workdir, names, seed)
    rows = np.arange(40)
    return {
        name: (stream.endless(rows)[0].pairs.tolist(), stream.example(7, 0).sources[0].tolist())
        for name, stream in streams.items()
    }


def test_a_task_is_sampled_by_the_runs_seed_and_its_name(workdir):
    one, two = "span_corruption:one", "span_corruption:two"
    found = {seed: sampled(workdir, (one, two), seed) for seed in (0, 1)}
    samples = [found[seed][name] for seed in found for name in (one, two)]
    assert len({str(order) for order, _ in samples}) == 4  # of no seed and task that of another
    assert sampled(workdir, ("causal_lm", two, one), 1)[two] == found[1][two]
    assert sampled(workdir, (two,), 1)[two] == found[1][two]
    assert task_seed(0, "spans") == 12363505968313747828  # on any machine, under any version
