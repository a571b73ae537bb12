"""Apache Beam makes the corpus that this machine makes. It runs where constraints-beam.txt is installed."""

import json
import random
import shutil
import subprocess
import sys

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.mine import ShardMaker
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

NAMES = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lamda", "my"]


def function(draw, number, copies):
    """A function, and copies of it that differ in one of its 30 lines."""
    lines = [
        f"    {draw.choice(NAMES)}_{draw.randrange(50)} = {draw.choice(NAMES)}({draw.randrange(1000)})"
        for _ in range(30)
    ]
    for copy in range(copies):
        changed = list(lines)
        changed[draw.randrange(30)] = f"    changed = {copy}"
        yield "\n".join(
            [f"def f_{number}(x):", f'    """Does number {number}, for the {copy}th time."""', *changed, ""]
        )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    draw, root = random.Random(0), tmp_path_factory.mktemp("sources")
    for number in range(60):
        for place, text in enumerate(function(draw, number, 1 + number % 4)):
            path = root / "project" / f"package_{(number + place) % 7}" / f"m_{number}_{place}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    shutil.make_archive(root / "archive", "gztar", root, "project/package_1")
    pairs = [{"text": f"number {number} of the file", "code": f"value_{number} = {number}"} for number in range(30)]
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)) + "\n{oops\n")
    return root


def config_of(root):
    sources = (str(root / "project"), str(root / "archive.tar.gz"), str(root / "pairs.jsonl"))
    return CorpusConfig(sources=sources, max_malformed_share=0.1)


def files(workdir):
    paths = (path for path in workdir.corpus.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(workdir.corpus).as_posix(): path.read_bytes() for path in paths}


def test_the_same_corpus_byte_for_byte(sources, tmp_path):
    pytest.importorskip("apache_beam")
    from t2c_jax.corpus.beam_runner import BeamRunner

    here, beam = Workdir(tmp_path / "here"), Workdir(tmp_path / "beam")
    result = build_corpus(config_of(sources), here, workers=2)
    assert (
        build_corpus(config_of(sources), beam, runner=BeamRunner("DirectRunner")).manifest["counts"]
        == (result.manifest["counts"])
    )
    assert files(here) == files(beam)
    dropped = json.loads(files(here)["card.json"])["dropped"]
    assert sum(found["count"] for reason, found in dropped.items() if reason.startswith("near-duplicate")) > 50
    assert [path.name for path in beam.path.iterdir()] == ["corpus"]


class Refusing(ShardMaker):
    def __call__(self, part):
        return UserError("the reason, and what to do")


def test_what_a_worker_says_to_the_user_is_one_line(sources, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    from t2c_jax.corpus import build
    from t2c_jax.corpus.beam_runner import BeamRunner

    monkeypatch.setattr(build, "ShardMaker", Refusing)
    with pytest.raises(UserError, match=r"^the reason, and what to do"):
        build_corpus(config_of(sources), Workdir(tmp_path), runner=BeamRunner("DirectRunner"))


def test_the_command_without_beam_says_what_to_install(sources, tmp_path):
    command = [
        sys.executable,
        "-m",
        "t2c_jax.cli",
        "mine",
        "--config",
        "configs/quickstart.py",
        "--workdir",
        str(tmp_path),
    ]
    without = "import sys; sys.modules['apache_beam'] = None; from t2c_jax.cli import main; raise SystemExit(main())"
    options = ["--runner", "DirectRunner", f"--config.corpus.sources={sources / 'project'}"]
    done = subprocess.run(
        [sys.executable, "-c", without, *command[3:], *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install -c constraints-beam.txt -e '.[beam]'" in done.stderr
    options = ["--beam=--flink_master=a", f"--config.corpus.sources={sources / 'project'}"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "name it with --runner" in done.stderr
