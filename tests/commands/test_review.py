"""``t2c review`` as a user starts it."""

import http.client
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from evaluate_examples import pair, write_run
from small_run import command, environment, main, processes

from t2c_jax import console

CODES = [f"def f{n}(a):\n    return a + {n}" for n in range(6)]
PAIRS = [pair(str(n), f"add {n}", code) for n, code in enumerate(CODES)]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    write_run(tmp_path / "base", PAIRS, ["pass"] * 6)
    write_run(tmp_path / "new", PAIRS, CODES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console.console, "_width", 80)
    return ["base", "new"]


def call(port: int, token: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"X-Review-Token": token, "Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    assert response.status == 200
    answer: dict[str, Any] = json.loads(response.read())
    connection.close()
    return answer


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_ends_cleanly_with_what_was_rated(stop: signal.Signals, runs: list[str], tmp_path: Path):
    workdirs = [tmp_path / run for run in runs]
    with processes().popen(command("review", *workdirs, "--reviewer", "ada", "--json"), env=environment()) as process:
        said = ""
        while (found := re.search(r"open http://127\.0\.0\.1:(\d+)/#(\S+)\n", said)) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        port, token = int(found[1]), found[2]
        question = call(port, token, "/api/question?number=0")
        call(port, token, "/api/rating", {"id": question["id"], "value": "left"})
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
        assert process.wait() == 0
    assert "6 questions for ada, 0 of them rated" in said
    assert "1 of 6 rated" in err
    assert "Traceback" not in err
    assert json.loads(out)["rated"] == 1
    assert len((workdirs[0] / "reviews" / "ada.jsonl").read_text().splitlines()) == 1


def rate(directory: Path, reviewer: str, choices: list[str]) -> None:
    """What a reviewer said of the six pairs, the first run on the left."""
    from t2c_jax.evaluate.review.questions import questions_of
    from t2c_jax.evaluate.review.ratings import RatingsFile, ratings_path
    from t2c_jax.evaluate.saved_evaluation import open_evaluations

    questions = questions_of(open_evaluations(["base", "new"]), "preference", 50, seed=0)
    file = RatingsFile(ratings_path(directory, reviewer))
    for question, choice in zip(sorted(questions, key=lambda each: each.pair.id), choices, strict=True):
        file.add(
            {
                "question": question.id,
                "pair": question.pair.id,
                "evaluations": list(question.evaluations),
                "choice": choice,
            }
        )


def test_the_report(runs: list[str], capsys: pytest.CaptureFixture[str]):
    rate(Path("base"), "ada", ["right"] * 4 + ["left", "tie"])
    rate(Path("base"), "bob", ["right"] * 3 + ["left", "left", "tie"])
    assert main("review", *runs, "--report", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["preferences"][0]["win_rate"] == pytest.approx(8 / 12, abs=1e-4)
    assert result["agreement"]["preferences"]["units"] == 6
    assert "new against base" in err
    assert "7 : 2 : 3" in err
    assert "questions judged: ada 6, bob 6" in err
    assert "agreement on preferences: Krippendorff's alpha (nominal)" in err
    assert all(len(line) <= 80 for line in err.splitlines() if "│" in line or "┃" in line)


def test_the_report_of_one_reviewer(runs: list[str], capsys: pytest.CaptureFixture[str]):
    rate(Path("base"), "ada", ["right"] * 6)
    assert main("review", *runs, "--report") == 0
    out, err = capsys.readouterr()
    assert not out
    assert "agreement on preferences: unknown; a second reviewer (--reviewer NAME) has to judge" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base", "--report"], "'base/reviews' has no ratings of these evaluations; run t2c review first"),
        (["base", "--mode=preference"], "a preference needs two runs"),
        (["base", "--reviewer=../x"], "reviewer '../x' is no name for a file"),
        (["base", "--pairs=0"], "--pairs 0 asks nothing"),
        (["base", "--port=70000"], "--port 70000 is no port"),
        (["gs://bucket/run"], "RUN 'gs://bucket/run' must be a path of this machine"),
        (["nowhere"], "'nowhere' does not exist, or has no finished evaluation"),
        (["base", "--config.seed=1"], "leave out --config.seed=1"),
    ],
)
def test_mistakes(arguments: list[str], message: str, runs: list[str], capsys: pytest.CaptureFixture[str]):
    assert main("review", *arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err.splitlines()[-1]
    assert not Path("base/reviews").exists()


def test_one_process_a_reviewer(runs: list[str], capsys: pytest.CaptureFixture[str]):
    from t2c_jax.workdir import Workdir

    with Workdir("base").locked("reviews.ada"):
        assert main("review", *runs, "--reviewer=ada") == 2
    said = capsys.readouterr().err
    assert "'base/reviews.ada' is in use by another run" in said
    assert said.rstrip().endswith("wait for it, or choose another --reviewer")
