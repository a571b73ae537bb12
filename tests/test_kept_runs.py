"""Runs that an earlier version made: this one opens, answers with, scores, exports and resumes each of them.

What they are is in ``make_kept_runs.py``. They are never made again to suit a change of the code.
"""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from small_run import main, records

KEPT = Path(__file__).resolve().parent / "kept_runs"
TRAINED = ("copying", "half_way", "lora", "lstm", "retrieving")
STAGES = ("corpus", "tokenizer", "tokens", "retrieval")
PROMPT = "Return item 3 of the values."

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A copy of all of them in the current directory, since their paths are relative."""
    for archive in KEPT.glob("*.tar.xz"):
        with tarfile.open(archive) as file:
            file.extractall(tmp_path, filter="data")
    shutil.copy(KEPT / "pairs.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(name, capsys):
    capsys.readouterr()
    assert main("generate", "--workdir", name, "--json", PROMPT) == 0
    (found,) = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", [*TRAINED, "imported_t5"])
def test_a_kept_run_gives_the_answer_that_it_gave(name, kept, capsys):
    expected = json.loads((KEPT / "answers.json").read_text())[name]
    found = answer(name, capsys)
    if name == "copying":  # the others have learnt too little to be sure of a piece
        assert found["code"] == expected["code"]
    for each, before in zip(found.get("neighbours", []), expected.get("neighbours", []), strict=True):
        assert each == {**before, "similarity": pytest.approx(before["similarity"], rel=1e-5)}
    # Sums of a few float32 log-probabilities, compiled with other flags and perhaps by another compiler.
    assert found["score"] == pytest.approx(expected["score"], abs=1e-3)


@pytest.mark.parametrize("name", TRAINED)
def test_a_kept_run_is_scored_and_resumes_on_its_own_stages(name, kept, capsys):
    stages = [stage for stage in STAGES if (kept / name / stage).is_dir()]
    assert ("retrieval" in stages) == (name == "retrieving")
    manifests = [(kept / name / stage / "manifest.json").read_bytes() for stage in stages]
    before = max(line["step"] for line in records(kept / name))
    assert main("evaluate", "--workdir", name) == 0
    for command in ("mine", "tokenizer", "prepare"):
        assert main(command, "--workdir", name) == 0
    assert [(kept / name / stage / "manifest.json").read_bytes() for stage in stages] == manifests
    assert main("train", "--workdir", name, "--config.train.steps=10") == 0
    steps = [line["step"] for line in records(kept / name) if line["kind"] == "train"]
    assert steps == sorted(set(steps))
    assert max(steps) == 10 > before


def test_a_run_that_was_stopped_half_way_ends(kept):
    assert [path.name for path in (kept / "half_way" / "checkpoints").glob("[0-9]*")] == ["4"]
    assert main("train", "--workdir", "half_way") == 0
    assert (kept / "half_way" / "checkpoints" / "8").is_dir()


def test_a_run_starts_from_a_kept_import(kept):
    common = ("--workdir", "new", "--config.train.steps=2", "--config.corpus.sources=pairs.jsonl")
    origin = ("--config.origin.run=imported_t5", "--config.optimizer.warmup_steps=1")
    for command in ("mine", "tokenizer", "prepare", "train"):
        assert main(command, "--config", "imported_t5/config.json", *common, *origin) == 0


@pytest.mark.parametrize("name", ["half_way", "lora", "imported_t5"])
def test_a_kept_run_is_exported(name, kept):
    pytest.importorskip("transformers")
    assert main("export", "--workdir", name, "--to", "huggingface", "--output", "exported") == 0
    assert (kept / "exported" / "model.safetensors").is_file()


def test_a_kept_run_that_no_format_holds_is_refused(kept, capsys):
    reasons = {"copying": "copying head", "lstm": "lstm", "retrieving": "copying head"}
    for name, reason in reasons.items():
        assert main("export", "--workdir", name, "--to", "huggingface", "--output", "exported") == 2
        assert reason in capsys.readouterr().err


def test_all_kept_runs_take_less_than_a_megabyte_and_name_no_path_of_a_machine(kept):
    assert sum(path.stat().st_size for path in KEPT.iterdir()) < 1_000_000
    for path in kept.rglob("*.json*"):
        assert str(Path(__file__).resolve().parents[1]) not in path.read_text("utf-8"), path
