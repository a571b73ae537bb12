"""Questions to reviewers, their ratings on disk, and what these say."""

import errno
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_examples import pair, write_run

from t2c_jax.errors import UserError
from t2c_jax.evaluate.review.agreement import agreement
from t2c_jax.evaluate.review.questions import Question, questions_of
from t2c_jax.evaluate.review.ratings import RatingsFile, ratings_path, read_ratings
from t2c_jax.evaluate.review.review_results import review_results
from t2c_jax.evaluate.review.review_session import InvalidRating, ReviewSession
from t2c_jax.evaluate.saved_evaluation import SavedEvaluation, open_evaluations

CODES = [f"def f{n}(a):\n    return a + {n}" for n in range(40)]
PAIRS = [pair(f"id-{n}", f"add {n}", code) for n, code in enumerate(CODES)]


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> list[SavedEvaluation]:
    """Two runs that have a quarter of the answers in common."""
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "base", PAIRS, CODES)
    write_run(root / "new", PAIRS, [code if n % 4 == 0 else f"{code} + 1" for n, code in enumerate(CODES)])
    return open_evaluations([str(root / "base"), str(root / "new")])


def test_a_preference_is_asked_where_answers_differ(evaluations: list[SavedEvaluation]):
    questions = questions_of(evaluations, "preference", 100, seed=0)
    assert len(questions) == 30
    assert len({question.id for question in questions}) == 30
    assert all(question.runs == ("base", "new") for question in questions)
    assert all(question.answers == (question.pair.code, f"{question.pair.code} + 1") for question in questions)


def test_the_order_is_random_and_the_same_for_all_reviewers(evaluations: list[SavedEvaluation]):
    first, again, other = (questions_of(evaluations, "preference", 100, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(question.id for question in first) == sorted(question.id for question in other)
    assert [question.pair.id for question in first] != [p.id for p in PAIRS if int(p.id[3:]) % 4]


def test_sides_are_drawn_for_each_reviewer(evaluations: list[SavedEvaluation]):
    questions = questions_of(evaluations, "preference", 100, seed=0)
    sides = {name: [question.order(name, 0)[0] for question in questions] for name in ("ada", "bob")}
    assert sides["ada"] == [question.order("ada", 0)[0] for question in questions]
    assert sides["ada"] != sides["bob"]
    assert all(5 < sum(each) < 25 for each in sides.values())  # of 30 fair draws, 3.6 standard deviations each way
    assert {question.order("ada", 0) for question in questions} == {(0, 1), (1, 0)}


def test_ratings_belong_to_what_was_shown(evaluations: list[SavedEvaluation]):
    """Neither another order on the command line nor another selection of pairs asks a question anew."""
    all_ids = {question.id for question in questions_of(evaluations, "preference", 100, seed=0)}
    assert {question.id for question in questions_of(evaluations[::-1], "preference", 100, seed=3)} == all_ids
    assert {question.id for question in questions_of(evaluations, "preference", 10, seed=0)} < all_ids


def test_each_answer_is_rated_alone(evaluations: list[SavedEvaluation]):
    assert len(questions_of(evaluations, "rating", 10, seed=0)) == 20
    (question,) = questions_of(evaluations[:1], "rating", 1, seed=0)
    assert (question.mode, question.runs, question.order("ada", 0)) == ("rating", ("base",), (0,))


def test_nothing_to_ask(evaluations: list[SavedEvaluation], tmp_path: Path):
    with pytest.raises(UserError, match="a preference needs two runs"):
        questions_of(evaluations[:1], "preference", 10, seed=0)
    for name in ("a", "b"):
        write_run(tmp_path / name, PAIRS[:3], CODES[:3])
    # Equal files are different evaluations, but have no different answer.
    with pytest.raises(UserError, match="all answers to these 3 pairs are equal"):
        questions_of(open_evaluations([str(tmp_path / "a"), str(tmp_path / "b")]), "preference", 10, seed=0)


def session(evaluations: list[SavedEvaluation], path: Path, reviewer: str = "ada", seed: int = 0) -> ReviewSession:
    questions = questions_of(evaluations, "preference", 100, seed=seed)
    return ReviewSession(questions, reviewer, seed, RatingsFile(ratings_path(path, reviewer)))


def test_nothing_shown_names_a_run(evaluations: list[SavedEvaluation], tmp_path: Path):
    shown = json.dumps([session(evaluations, tmp_path).question(number) for number in range(30)])
    assert not any(name in shown for each in evaluations for name in (f'"{each.label}"', each.digest()))


def test_a_rating_is_kept_and_the_review_resumed(evaluations: list[SavedEvaluation], tmp_path: Path):
    first = session(evaluations, tmp_path)
    assert first.state() == {"total": 30, "rated": 0, "next": 0, "reviewer": "ada"}
    question = first.question(0)
    state = first.rate({"id": question["id"], "value": "left", "note": "é\ud800", "seconds": 2.345})
    assert (state["rated"], state["next"]) == (1, 1)
    (line,) = (tmp_path / "reviews" / "ada.jsonl").read_text("utf-8").splitlines()
    record = json.loads(line)
    assert question["answers"][0][0].endswith(" + 1") == (record["runs"][0] == "new")
    assert record["evaluations"] == [{each.label: each.digest() for each in evaluations}[run] for run in record["runs"]]
    assert (record["choice"], record["note"], record["seconds"]) == ("left", "é\ud800", 2.3)
    again = session(evaluations, tmp_path)
    assert again.state() == state
    assert again.question(0)["previous"] == {"value": "left", "note": "é\ud800"}
    again.rate({"id": question["id"], "value": "tie"})
    assert again.question(0)["previous"] == {"value": "tie", "note": ""}
    assert again.state()["rated"] == 1


def test_another_seed_shows_the_choice_on_the_right_side(evaluations: list[SavedEvaluation], tmp_path: Path):
    one = session(evaluations, tmp_path)
    chosen = {}
    for number in range(30):
        question = one.question(number)
        one.rate({"id": question["id"], "value": "left"})
        chosen[question["id"]] = question["answers"][0]
    two = session(evaluations, tmp_path, seed=5)
    sides = set()
    for number in range(30):
        question = two.question(number)
        side = question["previous"]["value"]
        sides.add(side)
        assert question["answers"][["left", "right"].index(side)] == chosen[question["id"]]
    assert sides == {"left", "right"}


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {},
        {"id": "nothing", "value": "left"},
        {"id": ["x"], "value": "left"},
        {"value": "best"},
        {"value": 3},
        {"value": ["left"]},
        {"value": "left", "note": 3},
        {"value": "left", "note": "x" * 4001},
        {"value": "left", "seconds": -1},
        {"value": "left", "seconds": math.inf},
        {"value": "left", "seconds": "1"},
    ],
)
def test_what_is_no_rating(values: Any, evaluations: list[SavedEvaluation], tmp_path: Path):
    reviewed = session(evaluations, tmp_path)
    if isinstance(values, dict) and "value" in values:
        values = {"id": reviewed.question(0)["id"]} | values
    with pytest.raises(InvalidRating):
        reviewed.rate(values)
    assert not (tmp_path / "reviews" / "ada.jsonl").exists()
    for number in (-1, 30):
        with pytest.raises(IndexError):
            reviewed.question(number)


def record(question: str, of: list[str], value: Any, pair_id: str = "p") -> dict[str, Any]:
    return {"question": question, "pair": pair_id, "evaluations": of, "rating" if len(of) == 1 else "choice": value}


def test_a_torn_last_line_is_ignored_and_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "reviews" / "ada.jsonl"
    path.parent.mkdir()
    whole = json.dumps(record("q1", ["a"], 4)) + "\n"
    path.write_text(whole + '{"question": "q2", "pai')
    assert [*read_ratings(path)] == ["q1"]
    assert "ends in the middle of a line" in capsys.readouterr().err
    file = RatingsFile(path)
    assert path.read_text() == whole
    file.add(record("q3", ["a"], 1))
    assert [*read_ratings(path)] == ["q1", "q3"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is malformed"),
        ("[]", "not an object"),
        (json.dumps({"question": "q"}), "'pair' is missing"),
        (json.dumps(record("q", ["a"], 6)), "'rating' is 6, not one of 1, 2, 3, 4, 5"),
        (json.dumps(record("q", ["a"], True)), "'rating' is True"),
        (json.dumps(record("q", ["a", "b"], "A")), "'choice' is 'A', not one of left, tie, right"),
        (json.dumps(record("q", [], 1)), "no list of one or two digests"),
    ],
)
def test_a_malformed_line(line: str, message: str, tmp_path: Path):
    path = tmp_path / "ada.jsonl"
    path.write_text(f"{json.dumps(record('q', ['a'], 1))}\n{line}\n")
    with pytest.raises(UserError, match="correct or delete the line") as raised:
        read_ratings(path)
    assert message in str(raised.value)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "reviews" / "ada.jsonl"
    file = RatingsFile(path)
    file.add(record("q1", ["a"], 1))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        file.add(record("q2", ["a"], 1))
    assert path.read_bytes() == before
    assert [*file.latest] == ["q1"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "ada lovelace", "x" * 65, "ä"])
def test_a_name_that_is_no_file(name: str, tmp_path: Path):
    with pytest.raises(UserError, match="is no name for a file"):
        ratings_path(tmp_path, name)


# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units.
PUBLISHED = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
UNITS = [[value for value in column if value is not None] for column in zip(*PUBLISHED, strict=True)]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_is_that_of_the_published_example(level: Any, published: float):
    found = agreement(UNITS, range(1, 6), level, samples=200, seed=0)
    assert found["alpha"] == pytest.approx(published, abs=0.0006)
    assert found["units"] == 11  # the twelfth has one observer
    low, high = found["interval"]
    assert low < published < high <= 1


def test_alpha_at_its_ends():
    assert agreement([[1, 1], [5, 5]], range(1, 6), "ordinal", 50, 0)["alpha"] == 1
    assert agreement([[1, 5], [5, 1]], range(1, 6), "ordinal", 50, 0)["alpha"] < 0
    assert agreement([[1, 1], [1, 1]], range(1, 6), "ordinal", 50, 0)["alpha"] is None
    assert agreement([[1], [2]], range(1, 6), "ordinal", 50, 0)["units"] == 0
    generator = np.random.default_rng(0)
    chance = agreement(generator.integers(0, 3, (400, 2)).tolist(), range(3), "nominal", 50, 0)
    assert abs(chance["alpha"]) < 0.12  # its standard deviation is some 0.035
    assert chance["agreeing"] == pytest.approx(1 / 3, abs=0.08)


def write_ratings(directory: Path, reviewer: str, records: list[dict[str, Any]]) -> None:
    file = RatingsFile(ratings_path(directory, reviewer))
    for each in records:
        file.add(each)


def test_results(evaluations: list[SavedEvaluation], tmp_path: Path):
    base, new = (each.digest() for each in evaluations)
    write_ratings(
        tmp_path,
        "ada",
        [
            record("q0", [base, new], "left", "p0"),  # changed below
            *(record(f"q{n}", [base, new], "right", f"p{n}") for n in range(6)),
            *(record(f"q{n}", [new, base], "right", f"p{n}") for n in range(6, 8)),
            record("q8", [new, base], "tie", "p8"),
            *(record(f"r{n}", [new], 4 + n % 2, f"p{n}") for n in range(4)),
            record("s", ["elsewhere"], 1),
        ],
    )
    write_ratings(tmp_path, "bob", [record(f"q{n}", [new, base], "left", f"p{n}") for n in range(6)])
    results = review_results(tmp_path, evaluations, resamples=200, seed=0)
    assert results["reviewers"] == {"ada": 13, "bob": 6}
    assert results["other_ratings"] == 1
    (preference,) = results["preferences"]
    assert (preference["first"], preference["second"], preference["pairs"]) == ("base", "new", 9)
    assert (preference["wins"], preference["losses"], preference["ties"]) == (12, 2, 1)
    assert preference["win_rate"] == pytest.approx(12.5 / 15, abs=1e-4)
    assert preference["interval"][0] < preference["win_rate"] < preference["interval"][1]
    assert preference["p_value"] == pytest.approx(2 * (1 + 8 + 28) / 256, abs=1e-6)  # of pairs: 6 to 2
    (rating,) = results["ratings"]
    assert (rating["run"], rating["mean"], rating["counts"]["4"], rating["counts"]["5"]) == ("new", 4.5, 2, 2)
    assert results["left"] == pytest.approx(6 / 14, abs=1e-4)
    assert results["agreement"]["preferences"]["units"] == 6
    assert results["agreement"]["preferences"]["agreeing"] == 1
    assert results["agreement"]["ratings"]["alpha"] is None
    json.dumps(results, allow_nan=False)


def test_no_results(evaluations: list[SavedEvaluation], tmp_path: Path):
    with pytest.raises(UserError, match="has no ratings of these evaluations; run t2c review first"):
        review_results(tmp_path, evaluations, resamples=10, seed=0)
    write_ratings(tmp_path, "ada", [record("q", ["elsewhere"], 1)])
    with pytest.raises(UserError, match=r"no ratings of these evaluations \(1 are of other evaluations\)"):
        review_results(tmp_path, evaluations, resamples=10, seed=0)


def test_a_question_knows_its_mode():
    question = Question("q", PAIRS[0], ("a", "b"), ("x", "y"), ("1", "2"))
    assert question.mode == "preference"
