"""Generators over tiny models of each kind, for tests of decoding. They cost little, because they share everything.

``generators(kind, beam_size=2, ...)`` makes a generator on one CPU device. Parameters are made once a process. The
programs of equal settings are compiled once a process, whichever test asks (``shared_programs``): use ``DECODE`` as it
is, or with as few changes as the test is about, and prompts of ``PROMPTS``, which have one padded length.

    from tiny_generators import KINDS, PROMPTS

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_answer_is_short(kind, generators):
        assert all(len(answer.best) < 99 for answer in generators(kind, beam_size=2).generate(PROMPTS))

Parameters are random, but sharp: prompts get different answers, and some answers end. A model that says something on
purpose is ``"learned"``, a Transformer that knows ``PAIRS`` by heart. ``"lora"`` and ``"imported"`` are kept runs with
tokenizers of their own; the others share ``tokenizer()``.
"""

from __future__ import annotations

import functools
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from tiny import both, compiled_on, experiment, one_device

from t2c_jax import config as configs
from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import DecodeConfig, Experiment, TokenizerConfig
from t2c_jax.data.pipeline import Batches
from t2c_jax.data.prompt_encoder import TokenPrompts
from t2c_jax.data.tasks.translation import translation
from t2c_jax.data.tokens import Tokens
from t2c_jax.decode.generator import Generator, Member
from t2c_jax.decode.loading import load_generator, make_generator
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.sentencepiece import SentencePieceTokenizer
from t2c_jax.tokenizers.training import train
from t2c_jax.train.step import Compiled
from t2c_jax.workdir import Workdir

PAIRS = {
    "Return the sum of two numbers.": "def add(a, b):\n    return a + b\n",
    "Say hello.": 'print("hello")',
    "First item, or None.": "def first(x):\n\treturn x[0] if x else None",
    "Open a file and read all of it.": "with open(path) as file:\n    text = file.read()",
    "An empty class.": "class Empty: pass",
    "Größe in µm ▁": "größe = 1e-6  # µm\n",
}
# Of 17 to 32 pieces: one padded length.
PROMPTS = ("Return the sum of two numbers.", "Open a file and read all of it.", "Close the file that was read.")
DECODE = DecodeConfig(beam_size=1, max_tokens=16, batch_size=4)
DATA = {"encoder_length": 40, "decoder_length": 56, "batch_size": 8, "pack": False}
BLOCKS = {"layers": 1, "num_heads": 2, "head_width": 8, "feed_forward": 32}
MODELS: dict[str, dict[str, Any]] = {
    "transformer": both(**BLOCKS),
    "lstm": both("lstm", layers=1),
    "gru": both("gru", layers=1),
    "copying": {**both(**BLOCKS), "copy": True},
}
KINDS = (*MODELS, "ensemble", "lora", "imported")
KEPT = Path(__file__).resolve().parent / "kept_runs"
# A LoRA adapter merged into its base; an imported T5, whose start token is another.
KEPT_RUNS = {"lora": "lora", "imported": "imported_t5"}
LEARNED = experiment(
    data=DATA,
    model={"width": 48, **both(layers=1, num_heads=4, head_width=12, feed_forward=96)},
    optimizer={"learning_rate": 1e-2, "schedule": "constant", "warmup_steps": 10},
)
LEARNING_STEPS = 120
SHARPNESS = 4.0  # factor of the output table; as it is initialised, all tokens are about as likely


@functools.cache
def tokenizer() -> SentencePieceTokenizer:
    """Barely more pieces than bytes and whitespace take."""
    texts = [*PAIRS, *PAIRS.values()] * 4
    return SentencePieceTokenizer(train(TokenizerConfig(vocab_size=352, sentinels=4), texts))


@functools.cache
def tokenizers() -> Tokenizers:
    """Of both sides."""
    return Tokenizers(tokenizer(), tokenizer(), "text_to_code")


def extract_kept_runs(directory: Path) -> None:
    """All kept runs, side by side, since one may be another's base; with the pairs that they were made of."""
    for archive in KEPT.glob("*.tar.xz"):
        with tarfile.open(archive) as file:
            file.extractall(directory, filter="data")
    (directory / "pairs.jsonl").write_bytes((KEPT / "pairs.jsonl").read_bytes())


@functools.cache
def compiled_learned() -> Compiled:
    """The training of ``"learned"``."""
    return compiled_on(one_device(), LEARNED, tokenizer().vocab_size)


def learn() -> Any:
    """Parameters after ``LEARNING_STEPS`` on ``PAIRS``."""
    compiled = compiled_learned()
    encoded = [tokenizer().encode_batch(list(side)) for side in (PAIRS, PAIRS.values())]
    tokens = Tokens.of(*encoded, [str(i) for i in range(len(PAIRS))])
    batches, state = Batches.of(tokens, LEARNED.data, 0), compiled.init()
    assert not batches.plan.dropped
    for step in range(LEARNING_STEPS):
        state, _ = compiled.train_step(state, meshes.global_batch(batches.batch(step), compiled.mesh))
    return jax.device_get(state["params"])


class Generators:
    """Makes generators; called with a kind and with what its ``DecodeConfig`` has other than ``DECODE``."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._mesh = one_device()
        self.members = functools.cache(self._members)

    def __call__(self, kind: str, mesh: Mesh | None = None, **decode: Any) -> Generator:
        """A generator on one device, or on ``mesh``."""
        settings, mesh = replace(DECODE, **decode), mesh or self._mesh
        if kind in KEPT_RUNS:
            return self._of_a_run(KEPT_RUNS[kind], settings, mesh)
        members = [place(member, mesh) for member in self.members(kind)]
        config = LEARNED if kind == "learned" else self.experiment(kind)
        template = translation(tokenizers(), config.data, copy=config.model.copy).source
        inputs = TokenPrompts(tokenizer(), template, config.data.encoder_length)
        return Generator(members, inputs, tokenizer(), settings, mesh)

    @staticmethod
    def experiment(kind: str) -> Experiment:
        """The config of a kind with random parameters."""
        model = MODELS["transformer" if kind == "ensemble" else kind]
        return experiment(data=DATA, model={"tied_embeddings": False, **model})  # tied, it repeats what it reads

    def _members(self, kind: str) -> tuple[Member, ...]:
        """Each model with its parameters on the host."""
        if kind == "ensemble":
            return (*self.members("transformer"), self._random("transformer", seed=1))
        if kind == "learned":
            return (Member(compiled_learned().definition, self.learned()),)
        return (self._random(kind, seed=0),)

    @functools.cache  # noqa: B019 - there is one of this class
    def learned(self) -> Any:
        """The parameters of ``"learned"``, which one of pytest's workers makes for all."""
        path = self._base / "learned.npz"
        abstract = compiled_learned().definition.abstract_params()
        leaves, structure = jax.tree.flatten(abstract)
        with filelock.FileLock(path.with_suffix(".lock")):
            if not path.exists():
                np.savez(path, *jax.tree.leaves(learn()))
        with np.load(path) as file:
            return jax.tree.unflatten(structure, [file[f"arr_{i}"] for i in range(len(leaves))])

    def _random(self, kind: str, seed: int) -> Member:
        """As a model is initialised, by numpy: of each parameter the shape and about the spread."""
        definition = Definition(self.experiment(kind).model, tokenizer().vocab_size)
        bytes_ = [len(surface or b"") == 1 and not 32 <= surface[0] < 127 for surface in tokenizer().surfaces]

        def values(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            name = jax.tree_util.keystr(path)
            if leaf.ndim == 1 or "scale" in name:
                return np.full(leaf.shape, "scale" in name, leaf.dtype)
            random = np.random.default_rng([seed, zlib.crc32(name.encode())])
            found = random.normal(0, 1 / np.sqrt(leaf.shape[-1]), leaf.shape).astype(leaf.dtype)
            if name == "['output']":
                found *= SHARPNESS
                found[bytes_] /= 4  # parts of letters are less likely than letters: more of the answers are text
            return found

        return Member(definition, jax.tree_util.tree_map_with_path(values, definition.abstract_params()))

    def _of_a_run(self, name: str, settings: DecodeConfig, mesh: Mesh) -> Generator:
        run, found = self._run(name)
        members = [place(member, mesh) for member in found.members]
        return make_generator(members, run.tokenizers, run.data, settings, mesh, run.workdir)

    @functools.cache  # noqa: B019
    def _run(self, name: str) -> tuple[SavedRun, Generator]:
        directory = self._base / "kept_runs"
        with filelock.FileLock(directory.with_suffix(".lock")):
            if not directory.exists():
                extract_kept_runs(directory)
        run = Workdir(directory / name)
        config = configs.load(str(run.config))
        if config.origin.run:
            config = replace(config, origin=replace(config.origin, run=str(directory / config.origin.run)))
        saved = SavedRun.of(config, run)
        return saved, load_generator(saved, config.decode, config.mesh)[1]


def place(member: Member, mesh: Mesh) -> Member:
    """The member with its parameters on the mesh."""
    return Member(member.definition, jax.device_put(member.params, member.definition.shardings(mesh)))


@pytest.fixture(scope="session")
def generators(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Generator]:
    """Makes generators of each kind; see the module."""
    base = tmp_path_factory.getbasetemp()
    return Generators(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
