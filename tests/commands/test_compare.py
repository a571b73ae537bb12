"""``t2c compare`` as a user starts it."""

import json
from pathlib import Path

import pytest
from evaluate_examples import pair, write_run
from small_run import main

from t2c_jax import console

CODES = [f"def f{n}(a):\n    return a + {n}" + f"\n    # {n}" * (n % 4) for n in range(12)]
PAIRS = [pair(str(n), f"add {n}", code, kind="function" if n % 2 else "method") for n, code in enumerate(CODES)]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    write_run(tmp_path / "base", PAIRS, ["pass"] * 12)
    write_run(tmp_path / "new", PAIRS, CODES)
    write_run(tmp_path / "fewer", PAIRS[1:], CODES[1:], metrics=("exact_match", "chrf"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console.console, "_width", 80)
    return ["base", "new", "fewer"]


def test_tables_a_page_and_one_json_document(runs: list[str], capsys: pytest.CaptureFixture[str]):
    assert main("compare", *runs, "--json", "--resamples=100") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["baseline"] == "base"
    assert [*result["against_baseline"]] == ["new", "fewer"]
    assert result["page"] == "compare.html"
    assert "new against base" in Path("compare.html").read_text("utf-8")
    assert "new is better on exact match" in err
    assert "pairs left out, not in all runs: 1 of base" in err
    assert "metrics left out, not in all runs: bleu, parses\n" in err
    assert "+100.0" in err
    assert "method" in err
    assert all(len(line) <= 80 for line in err.splitlines() if "│" in line or "┃" in line)


def test_without_json_nothing_is_printed_for_programs(runs: list[str], capsys: pytest.CaptureFixture[str]):
    assert main("compare", *runs[:2], "--resamples=100", "--output=page.html") == 0
    assert capsys.readouterr().out == ""
    assert Path("page.html").is_file()
    assert not Path("compare.html").exists()


def test_a_page_is_replaced_as_a_whole(runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys):
    Path("kept.html").write_text("old")
    Path("link.html").symlink_to("kept.html")
    with monkeypatch.context() as full:
        full.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert main("compare", *runs[:2], "--resamples=100", "--output=link.html") == 2
    assert "the disk is full" in capsys.readouterr().err
    assert Path("kept.html").read_text() == "old"
    assert main("compare", *runs[:2], "--resamples=100", "--output=link.html") == 0
    assert Path("link.html").is_symlink()
    assert "new against base" in Path("kept.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base"], "one run cannot be compared; name two or more, the baseline first"),
        (["base", "nowhere"], "'nowhere' does not exist, or has no finished evaluation; run t2c evaluate"),
        (["base", "new", "--split=dev"], "'base' has no evaluation on dev; it has 12-test-all-greedy"),
        (["base", "new", "--output=no/page.html"], "--output 'no/page.html': name a file in a directory that exists"),
        (["base", "new", "--output=gs://b/x.html"], "--output 'gs://b/x.html' must be a path of this machine"),
        (["base", "new", "--resamples=3"], "--resamples 3 is too few"),
        (["base", "new", "--seed=-1"], "--seed -1 is negative"),
        (["base", "new", "--config.seed=3"], "reads evaluations that exist; leave out --config.seed=3"),
        (["base", "base"], "the evaluation of 'base' is named twice"),
    ],
)
def test_mistakes(arguments: list[str], message: str, runs: list[str], capsys: pytest.CaptureFixture[str]):
    assert main("compare", *arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    (line,) = err.splitlines()
    assert message in line
    assert not Path("compare.html").exists()
