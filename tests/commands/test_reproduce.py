"""``t2c reproduce``: its data, what it does with what runs reach, and that it goes on where it was stopped."""

import ast
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_run import CONFIG, main, write_corpus

from t2c_jax import config as configs
from t2c_jax.corpus.sets.catalog import public_set
from t2c_jax.errors import UserError
from t2c_jax.library import reproduction
from t2c_jax.library.published_systems import SYSTEMS
from t2c_jax.library.reproduction import ProcessResult, SeedResult, SeedSummary
from t2c_jax.library.reproduction_data import QUICK_PAIRS, few_pairs, find_data
from t2c_jax.library.reproduction_page import duration


def score(value, error=2.0):
    return {"value": value, "standard_error": error}


class Runs:
    """Stands in for processes: each run reaches the next score."""

    def __init__(self, *scores):
        self.scores, self.commands = list(scores), []

    def __call__(self, arguments):
        self.commands.append(list(arguments))
        reached = self.scores.pop(0)
        if reached is None:
            return ProcessResult(-9, "", 1)
        evaluated = {"model": {"logic_match": score(reached)}, "retrieval": {"logic_match": score(56.2)}}
        results = {"evaluate": {**evaluated, "examples": 80, "step": 300}, "train": {"parameters": 1000}}
        return ProcessResult(0, json.dumps(results), 2_000_000_000)


@pytest.fixture
def directory(tmp_path):
    """Pairs and a directory of configs."""
    (tmp_path / "data").mkdir()
    write_corpus(tmp_path / "data" / "train.jsonl")
    (tmp_path / "configs").mkdir()
    body = CONFIG.format(corpus="absent").replace("get_config()", "get_config(argument)")
    metrics = '    config.evaluate.metrics = ("logic_match",)\n    return config\n'
    (tmp_path / "configs" / "semantic_parsing.py").write_text(body.replace("    return config\n", metrics))
    return tmp_path


def reproduce(directory, *arguments):
    return main(
        *("reproduce", "jobs", "--data", directory / "data", "--configs", directory / "configs"),
        *("--output", directory / "out", *arguments),
    )


def use(monkeypatch, *scores):
    runs = Runs(*scores)
    monkeypatch.setattr(reproduction, "start_process", runs)
    return runs


def test_seeds_become_a_table(directory, monkeypatch, capsys):
    runs = use(monkeypatch, 80.0, 84.0)
    docs = directory / "docs.md"
    assert reproduce(directory, "--seeds", "3,5", "--docs", docs, "--json", "--config.train.steps=7") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reached"]["mean"] == 82.0
    assert [each["seed"] for each in document["seeds"]] == [3, 5]
    assert json.loads((directory / "out" / "jobs.json").read_text()) == document
    for command, seed in zip(runs.commands, (3, 5), strict=True):
        assert command[:2] == ["run", "--json"]
        assert f"--config.seed={seed}" in command
        assert {"--config.train.steps=7", "--config.evaluate.split=dev", "--config.evaluate.max_examples=0"} <= {
            *command
        }
    page = (directory / "out" / "jobs.md").read_text()
    assert "smoke test" not in page
    assert f"t2c reproduce jobs --seeds 3,5 --data {directory}/data --configs {directory}/configs --config." in page
    assert "| 3 | 80.0 ± 2.0 | 56.2 | 300 | 1,000 |" in page
    assert "Reached: **82.0**, 95 % interval 76.5 to 87.5, standard deviation over 2 seeds 2.8." in page
    assert "| attention, Dong & Lapata 2016 | 87.1 | within the interval |" in page
    assert "| TranX, Yin & Neubig 2018 | 90 | below |" in page
    assert "the score is on dev, since the data has no test split" in page
    (row,) = [line for line in docs.read_text().splitlines() if line.startswith("| `jobs`")]
    assert "82.0 (76.5 to 87.5) `logic_match` | 3, 5 | dev, 80 pairs of train.jsonl" in row


def test_a_smoke_test_is_no_result(directory, monkeypatch):
    """It trains on few pairs, in files of its own, and says what it is."""
    runs = use(monkeypatch, 80.0)
    assert reproduce(directory, "--seeds", "0", "--quick") == 0
    pairs = directory / "out" / "jobs-quick" / "pairs" / "train.jsonl"
    assert len(pairs.read_text().splitlines()) == QUICK_PAIRS
    assert f"--config.corpus.sources='{pairs}'," in runs.commands[0]
    assert "This is a smoke test" in (directory / "out" / "jobs-quick.md").read_text()
    assert not (directory / "out" / "jobs.md").exists()


def test_the_row_of_a_system_is_replaced_and_others_stay(directory, monkeypatch, capsys):
    docs = directory / "docs.md"
    use(monkeypatch, 80.0)
    assert reproduce(directory, "--seeds", "0", "--docs", docs) == 0
    text = docs.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `jobs`"))
    docs.write_text(text.replace(row, f"{row.replace('jobs', 'geo')}\n{row}") + "\nWritten by hand.\n")
    use(monkeypatch, 70.0)
    assert reproduce(directory, "--seeds", "1", "--docs", docs) == 0
    lines = docs.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert [line.split("|")[1].strip() for line in rows] == ["`geo`", "`jobs`"]
    assert "70.0 (" in rows[1]
    assert "80.0 (" in rows[0]
    assert lines[-1] == "Written by hand."
    docs.write_text("# Another page\n")
    assert reproduce(directory, "--seeds", "1", "--docs", docs) == 2
    assert "has no table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--docs", "{0}/data/train.jsonl"), "has no table that starts with"),
        (("--docs", "{0}/nowhere/docs.md"), "name a file in a directory that exists"),
        (("--output", "{0}/data/train.jsonl/out"), "a part of the path is a file; choose another --output"),
        (("--output", "{0}/data/train.jsonl"), "a file of that name exists; choose another --output"),
        (("--output", "gs://bucket/out"), "must be a path of this machine"),
    ],
)
def test_places_to_write_are_checked_before_a_seed_runs(arguments, message, directory, monkeypatch, capsys):
    runs = use(monkeypatch)
    assert reproduce(directory, "--seeds", "0", *(item.format(directory) for item in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not runs.commands


def test_damaged_files(directory, monkeypatch, capsys):
    """A line that is no UTF-8 is left to t2c mine; a damaged result is named."""
    with (directory / "data" / "train.jsonl").open("r+b") as file:
        file.write(b"\xff")
    use(monkeypatch, 80.0)
    assert reproduce(directory, "--seeds", "0", "--quick") == 0
    assert (directory / "out" / "jobs-quick" / "pairs" / "train.jsonl").read_bytes()[:1] == b"\xff"
    result = directory / "out" / "jobs-quick" / "seed-0" / "result.json"
    result.write_text("{")
    assert reproduce(directory, "--seeds", "0", "--quick") == 2
    assert f"'{result}' is damaged; delete it" in capsys.readouterr().err


def test_it_goes_on_where_it_was_stopped(directory, monkeypatch, capsys):
    """Finished seeds are not run again, and the cost counts every attempt."""
    runs = use(monkeypatch, 80.0, None)
    assert reproduce(directory) == 2
    assert "seed 1 ended with status -9" in capsys.readouterr().err
    workdir = directory / "out" / "jobs" / "seed-1"
    attempts = workdir / "attempts.jsonl"
    began = json.loads(attempts.read_text().strip().splitlines()[0])
    began["began"] -= 500
    attempts.write_text(json.dumps(began) + "\n" + '{"key')  # and no end: it was killed together with the command
    (workdir / "checkpoints").mkdir()
    (workdir / "checkpoints" / "a").write_text("")
    for path in (attempts, workdir / "checkpoints", workdir / "checkpoints" / "a"):
        os.utime(path, (began["began"] + 90, began["began"] + 90))
    os.utime(workdir / "checkpoints" / "a", (began["began"] + 100, began["began"] + 100))

    runs = use(monkeypatch, 82.0, 84.0)
    assert reproduce(directory) == 0
    assert [command[-1] for command in runs.commands] == ["--config.seed=1", "--config.seed=2"]
    results = json.loads((directory / "out" / "jobs.json").read_text())["seeds"]
    assert [each["score"] for each in results] == [80.0, 82.0, 84.0]
    assert results[1]["seconds"] == pytest.approx(100, abs=20)

    runs = use(monkeypatch)
    assert reproduce(directory) == 0  # all is finished
    runs = use(monkeypatch, 1.0)
    assert reproduce(directory, "--seeds", "0", "--config.train.steps=9") == 0
    assert len(runs.commands) == 1  # another config


def test_a_run_reaches_its_result(directory, monkeypatch):
    """Through the stages of a real, small run."""

    def start(arguments):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            return ProcessResult(main(*arguments), output.getvalue(), 1)

    monkeypatch.setattr(reproduction, "start_process", start)
    assert reproduce(directory, "--seeds", "0") == 0
    (found,) = json.loads((directory / "out" / "jobs.json").read_text())["seeds"]
    assert found["examples"] == 12
    assert found["parameters"] > 1000
    assert found["retrieval"] is not None


def test_intervals():
    def result(value, error):
        return SeedResult(0, value, error, None, 1, 1, 1, 10.0, 5)

    one = SeedSummary.of([result(50.0, 2.0)])
    assert one.spread is None
    assert one.interval == pytest.approx((46.08, 53.92))
    several = SeedSummary.of([result(48.0, 2.0), result(50.0, 2.0), result(52.0, 2.0)])
    assert (several.mean, several.spread) == (50.0, 2.0)
    assert several.interval[1] - 50 == pytest.approx(1.96 * (4 + 4 / 3) ** 0.5)
    assert SeedSummary.of([result(50.0, None)]).interval == (50.0, 50.0)
    assert [duration(seconds) for seconds in (5, 184, 3720)] == ["5 s", "3 min 04 s", "1 h 02 min"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_systems_config_and_sets_exist(name, repository):
    system = SYSTEMS[name]
    data = find_data(system, None)
    command = reproduction.command_of(system, data, repository / "configs", [], quick=True)
    overrides = [item.removeprefix("--config.") for item in command[4:]]
    experiment = configs.load(command[3], overrides)
    assert system.metric in experiment.evaluate.metrics
    assert experiment.evaluate.max_examples == 4  # the quick variant's
    for set_name in system.sets:
        public_set(set_name)
    assert system.published


def test_what_there_is_to_train_on(tmp_path):
    nl2bash = SYSTEMS["nl2bash"]
    assert find_data(nl2bash, None).split == "test"
    assert find_data(nl2bash, None).overrides[0] == "corpus.sources=tfds:nl2bash/all"
    for name in ("all.nl", "all.cm"):
        (tmp_path / name).write_text("a\n")
    found = find_data(nl2bash, tmp_path)
    assert f"corpus.set_files={tmp_path}" in found.overrides
    for split in ("train", "dev", "test"):
        for kind in ("nl", "cm"):
            (tmp_path / f"{split}.{kind}.filtered").write_text("a\n")
    assert find_data(nl2bash, tmp_path).overrides[0] == "corpus.sources=tfds:nl2bash/filtered"
    (tmp_path / "train.jsonl").write_text('{"text": "a", "code": "b"}\n' * 300)
    found = find_data(nl2bash, tmp_path)
    assert (found.overrides, found.split) == ((f"corpus.sources='{tmp_path / 'train.jsonl'}',",), "dev")
    few = few_pairs(found, tmp_path / "few")
    assert len((tmp_path / "few" / "train.jsonl").read_text().splitlines()) == QUICK_PAIRS
    assert few.overrides == (f"corpus.sources='{tmp_path / 'few' / 'train.jsonl'}',",)
    (tmp_path / "test.jsonl").write_text('{"text": "a", "code": "b"}\n')
    other = find_data(nl2bash, tmp_path)
    assert other.split == "test"
    assert other.key != found.key


def test_few_pairs_of_a_set(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    (tmp_path / "train.txt").write_text("".join(f"ask {n}\tjob ( {n} )\n" for n in range(150)))
    (tmp_path / "test.txt").write_text("some\tjob ( ANS )\n")
    found = find_data(SYSTEMS["jobs"], tmp_path)
    assert found.split == "test"
    few = few_pairs(found, tmp_path / "few", accept_counts=True)
    lines = [json.loads(line) for line in (tmp_path / "few" / "train.jsonl").read_text().splitlines()]
    assert len(lines) == QUICK_PAIRS
    assert lines[0] == {"text": "ask 0", "code": "job ( 0 )", "group": ""}
    assert "few/test.jsonl" in few.overrides[0]
    with pytest.raises(UserError, match="train has 150 pairs, published 500"):
        few_pairs(found, tmp_path / "few")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("jbos",), "unknown system 'jbos'; did you mean 'jobs'?"),
        ((), "name a system: django, "),
        (("jobs", "--seeds", "0,0"), "--seeds 0,0: write different non-negative integers"),
        (("jobs", "--seeds", "a"), "--seeds a: write"),
        (("jobs", "--data", "absent"), "--data 'absent' is not a directory"),
        (
            ("jobs", "--data", "."),
            "nor the published files: '.' lacks seq2seq_jobqueries.zip; published at http://dong.li",
        ),
        (("code2seq", "--data", "."), "--data '.' has none of train.jsonl"),
        (("jobs", "--configs", "absent"), "'absent/semantic_parsing.py' does not exist; run in a checkout"),
        (("jobs", "--quick", "--docs", "a.md"), "--quick gives no results for --docs"),
    ],
)
def test_mistakes(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main("reproduce", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_set_that_differs_is_refused_before_any_seed(directory, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(directory / "tfds"))
    runs = use(monkeypatch, 80.0)
    for name in ("train", "test"):
        (directory / "data" / f"{name}.txt").write_text("all\tjob ( ANS )\n")
    (directory / "data" / "train.jsonl").unlink()
    assert reproduce(directory, "--seeds", "0") == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "train has 1 pairs, published 500; test has 1 pairs, published 140" in error
    assert not runs.commands
    assert reproduce(directory, "--seeds", "0", "--config.corpus.accept_counts=True") == 0
    assert {"--config.corpus.sources=tfds:jobs", "--config.evaluate.split=test"} <= {*runs.commands[0]}


def test_dev_pairs_alone_are_no_data(tmp_path):
    (tmp_path / "dev.jsonl").write_text("")
    with pytest.raises(UserError, match=r"has dev\.jsonl but no train\.jsonl"):
        find_data(SYSTEMS["jobs"], tmp_path)


def test_the_list(capsys):
    assert main("reproduce", "--list", "--json") == 0
    printed = capsys.readouterr()
    assert [system["name"] for system in json.loads(printed.out)] == [*SYSTEMS]
    assert "django: configs/django.py:copy, python_match on tfds:django" in printed.err
    assert "TranX 73.7 (Yin & Neubig 2018)" in printed.err


def test_a_process_is_measured():
    """By a small process, as t2c is: Linux counts what the one that starts it held then."""
    held = "import sys; held = bytearray(200_000_000); print(sys.argv[1:]); sys.exit(3)"
    program = (
        "from t2c_jax.library import reproduction\n"
        f"reproduction._PROGRAM = {held!r}\n"
        "outcome = reproduction.start_process(['run', '--json'])\n"
        "print([outcome.status, outcome.output, outcome.memory])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    status, output, memory = ast.literal_eval(done.stdout)
    assert (status, output) == (3, "['run', '--json']\n")
    assert 200e6 < memory < 2e9


@pytest.mark.skipif(sys.platform != "linux", reason="the signal at the end of a parent is Linux's")
def test_a_process_ends_with_its_parent(tmp_path):
    """Its workdir is free then for the next one."""
    child = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"
    program = (
        "from t2c_jax.library import reproduction\n"
        f"reproduction._PROGRAM = reproduction._PROGRAM.partition('from t2c')[0] + {child!r}\n"
        "reproduction.start_process([])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=environment)
    pid = tmp_path / "pid"
    while not (pid.is_file() and pid.read_text()):
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    status = Path(f"/proc/{pid.read_text()}/stat")
    deadline = time.monotonic() + 60
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
