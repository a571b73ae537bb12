import html
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Pages, browser, open_page, width_beyond_window  # noqa: F401  (fixtures)
from evaluate_examples import pair

from t2c_jax.config import EvaluateConfig
from t2c_jax.errors import UserError
from t2c_jax.evaluate.evaluator import Evaluation, evaluate_predictions, select_pairs, write_evaluation

TRAIN = [pair(f"train-{n}", f"add {n} to a number", f"def add_{n}(x):\n    return x + {n}") for n in range(30)]
TEST = [
    pair(
        f"test-{n}",
        f"subtract {n} from a number",
        f"def subtract(x):\n    return x - {n}" + f"\n    # {n}" * (n % 5),
        kind="function" if n % 3 else "method",
    )
    for n in range(20)
]
HOSTILE = "<script>alert('&')</script>\x00\x1b[31m\ud800\n</pre>"


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    candidates = [[p.code if n % 2 else HOSTILE] for n, p in enumerate(TEST)]
    return evaluate_predictions(TEST, candidates, TRAIN, EvaluateConfig(bootstrap_samples=100), seed=0)


def test_scores(evaluation: Evaluation):
    scores = evaluation.scores
    assert scores["examples"] == 20
    assert scores["split"] == "test"
    assert scores["train_pairs"] == 30
    assert scores["model"]["exact_match"]["value"] == 50
    assert scores["retrieval"]["exact_match"]["value"] == 0
    assert scores["model"]["parses"]["value"] == 50
    assert scores["retrieval"]["parses"]["value"] == 100
    assert scores["references"]["parses"] == 100
    assert scores["verdict"]["parses"] == "worse"
    assert "but is worse than copying on the share that parses" in scores["summary"]


def test_groups_cover_every_pair_once(evaluation: Evaluation):
    scores = evaluation.scores
    for groups in (scores["by_length"], scores["by_kind"]):
        assert sum(group["examples"] for group in groups) == 20
    assert [group["kind"] for group in scores["by_kind"]] == ["function", "method"]
    spans = [group["code_tokens"] for group in scores["by_length"]]
    assert len(spans) > 2
    assert spans == sorted(spans)
    assert all(last[1] < following[0] for last, following in itertools.pairwise(spans))


def test_pairs_of_one_length_are_one_group():
    same = TEST[:1] * 6
    scores = evaluate_predictions(same, [["x"]] * 6, TRAIN, EvaluateConfig(bootstrap_samples=10), seed=0).scores
    assert [group["examples"] for group in scores["by_length"]] == [6]


def test_the_same_call_gives_the_same_scores(evaluation: Evaluation):
    candidates = [[example["prediction"]] for example in evaluation.examples]
    again = evaluate_predictions(TEST, candidates, TRAIN[::-1], EvaluateConfig(bootstrap_samples=100), seed=0)
    assert again == evaluation


def test_files(evaluation: Evaluation, tmp_path: Path):
    write_evaluation(tmp_path, evaluation)
    assert json.loads((tmp_path / "scores.json").read_text("utf-8")) == evaluation.scores
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text("utf-8").split("\n")[:-1]]
    assert lines == evaluation.examples
    first = lines[0]
    assert first["prediction"] == HOSTILE
    assert (first["id"], first["exact"], first["parses"]) == ("test-0", False, False)
    assert first["retrieved"] in {p.code for p in TRAIN}
    assert first["source"]["path"] == "a/b.py"


class _Page(HTMLParser):
    """Checks that tags close in order, and collects what a browser would load or run."""

    VOID = frozenset({"meta", "line", "circle", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.references: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action", "style")]
        self.references += [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_report_is_one_valid_page_with_escaped_answers(evaluation: Evaluation, tmp_path: Path):
    write_evaluation(tmp_path, evaluation)
    source = (tmp_path / "report.html").read_text("utf-8")
    page = _Page()
    page.feed(source)
    page.close()
    assert not page.open
    assert not page.seen & {"script", "link", "img", "iframe", "object"}
    assert set(page.references) == {"#random", "#best", "#worst"}
    assert not re.search(r"https?:|url\(|@import|\x00|\x1b", source)
    shown = "".join(page.text)
    assert "<script>alert('&')</script>" in shown
    assert evaluation.scores["summary"] in shown
    assert "subtract 3 from a number" in shown


def test_a_narrow_window_shows_the_scores(tmp_path: Path, open_page: Pages):  # noqa: F811
    """The first column stays in view when the table is scrolled, so that it may not hide the others."""
    pairs = [pair(str(n), f"add {n}", f"x = x + {n}") for n in range(3)]
    config = EvaluateConfig(metrics=("exact_match", "codebleu_published"))
    write_evaluation(tmp_path, evaluate_predictions(pairs, [["x = 1"]] * 3, pairs, config, seed=0))
    page = open_page((tmp_path / "report.html").as_uri(), width=360)
    assert width_beyond_window(page) <= 0
    widths = page.evaluate("[...document.querySelectorAll('td:first-child')].map((cell) => cell.offsetWidth)")
    assert max(widths) < 180


def test_report_of_another_language(tmp_path: Path):
    train = [pair("a", "list files", "ls", language="fish"), pair("b", "count lines", "wc -l", language="no such")]
    write_evaluation(tmp_path, evaluate_predictions(train, [["ls"], ["wc"]], train, EvaluateConfig(), seed=0))
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "not applicable" in text
    assert "Not applicable to these pairs (language: fish, no such): the share that parses." in text
    assert text.count('class="axis"') == 3  # a score that is not known has no scale
    assert json.loads((tmp_path / "scores.json").read_text())["references"]["parses"] is None
    train = [pair("a", "list files", "ls", language="bash")]
    write_evaluation(tmp_path, evaluate_predictions(train, [["ls"]], train, EvaluateConfig(), seed=0))
    assert "shell by tree-sitter's grammar 0." in html.unescape((tmp_path / "report.html").read_text("utf-8"))
    assert json.loads((tmp_path / "scores.json").read_text())["references"]["parses"] == 100


def test_select_pairs_is_even_nested_and_ordered():
    pairs = [pair(f"id-{n}", "t", "c") for n in range(1000)]
    some, more = select_pairs(pairs, 100), select_pairs(iter(pairs), 300)
    assert len(some) == 100
    assert {p.id for p in some} < {p.id for p in more}
    positions = [pairs.index(p) for p in more]
    assert positions == sorted(positions)
    assert 100 < sum(position < 500 for position in positions) < 200  # 150 +- 7.2, as a fair draw gives it
    assert select_pairs(pairs, 0) == pairs
    assert select_pairs(pairs[::-1], 100) == some[::-1]
    assert select_pairs(pairs[:5], 100) == pairs[:5]


def test_mistakes():
    with pytest.raises(UserError, match="test split is empty"):
        evaluate_predictions([], [], TRAIN, EvaluateConfig(), seed=0)
    with pytest.raises(UserError, match="no training pair has a text"):
        evaluate_predictions(TEST[:1], [["x"]], [], EvaluateConfig(), seed=0)
    with pytest.raises(ValueError, match="zip"):
        evaluate_predictions(TEST, [["x"]], TRAIN, EvaluateConfig(), seed=0)


def test_metrics_that_rank_see_several_candidates_on_both_sides(tmp_path: Path):
    """Retrieval's nearest code is that of add 1, its second nearest that of add 1 to 7: three of three calls."""
    train = [
        pair("a", "add 1", "int.add", language="apis"),
        pair("b", "add 1 to 7", "open json.load len", language="apis"),
        pair("c", "else", "print", language="apis"),
    ]
    test = [pair("d", "add 1 then", "open json.load len", language="apis")]
    config = EvaluateConfig(metrics=("frank", "bleu"), bootstrap_samples=10)
    evaluation = evaluate_predictions(test, [("print", "open", "len open")], train, config, seed=0)
    assert list(evaluation.scores["signatures"]) == ["frank", "bleu"]
    assert evaluation.scores["model"]["frank"]["value"] == 3
    assert evaluation.scores["retrieval"]["frank"]["value"] == 2
    (example,) = evaluation.examples
    assert example["prediction"] == "print"
    assert example["candidates"] == ["print", "open", "len open"]
    assert (example["retrieved"], example["parses"], example["exact"]) == ("int.add", None, False)
    assert 0 < example["retrieved_chrf"] < 100
    write_evaluation(tmp_path, evaluation)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "FRank (lower is better)" in text
    assert "chrF2" not in text
    plain = evaluate_predictions(test, [("print", "open")], train, EvaluateConfig(bootstrap_samples=10), seed=0)
    assert "candidates" not in plain.examples[0]
