"""What overlaps with held-out code is not in the corpus."""

import dataclasses
import gzip
import json

import pytest

from t2c_jax.config import CorpusConfig, Experiment
from t2c_jax.config.check import check
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.held_out import NEAR_COPY, SAME_CODE, SHARES_NGRAM, HeldOut
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

ANSWER = "def answer(values):\n    return sum(value * value for value in values)\n"
LINE = ANSWER.splitlines()[1].strip()  # 45 characters
RULE = "shares a line with config.corpus.held_out"


@pytest.mark.parametrize(
    ("code", "shares"),
    [
        (f"\t\t{LINE}  ", True),
        (f"class A:\r\n        {LINE}\r\n    x = 1", True),
        (f"x = 1\r{LINE}\ry = 2", True),
        ("def answer(values):\n    pass", False),  # 19 characters
        (f"{LINE} + 1", False),
        (f"# {LINE}", False),
        ("", False),
    ],
)
def test_lines_are_compared_stripped_and_whole(code, shares):
    assert HeldOut([ANSWER, "y = 2"], 30).shares_line(code) is shares


def test_only_lines_above_the_limit_count():
    held_out = HeldOut(["a" * 30 + "\n" + "  " + "b" * 31 + "  ", "c" * 5], 30)
    assert not held_out.shares_line("a" * 30)
    assert held_out.shares_line("b" * 31)
    assert HeldOut(["ab"], 0).shares_line("\n\n ab")
    assert not HeldOut(["\n \n"], 0).shares_line("\n \n")


WORDS = [f"w{number}" for number in range(60)]


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("\n".join(WORDS), SAME_CODE),
        ("\n".join(["x", "y", *WORDS[10:42], "z"]), SHARES_NGRAM),
        ("\n".join(["x", "y", *WORDS[10:41], "z"]), ""),
        ("\n".join([*WORDS[:20], "x", *WORDS[21:45], *WORDS[46:]]), NEAR_COPY),
        ("\n".join([*WORDS[:20], "x", *WORDS[24:40], "y", "z", *WORDS[46:]]), ""),
        ("short   =\n1", SAME_CODE),
        ("short = 2", ""),
        ("", ""),
    ],
)
def test_codes_overlap_by_tokens_in_a_row_or_by_similarity(code, rule):
    held_out = HeldOut([" ".join(WORDS), "short = 1", ""], 30, ngram=32, similarity=0.8)
    assert held_out.rules(["nothing of it", code]) == ["", rule]
    if rule != SAME_CODE:
        assert HeldOut([" ".join(WORDS)], 30).rules([code]) == [""]


def write(path, codes, text="a text that says it"):
    lines = [json.dumps({"text": text, "code": code}) for code in codes]
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    for number in range(4):
        (root / f"f_{number}.py").write_text(
            f'def f_{number}(x):\n    """Adds {number} to x."""\n    return x + {number}\n'
        )
    body = f'    """Sums up squares."""\n    if values:\n        {LINE}\n    return 0\n'
    (root / "copied.py").write_text(f"def copied(values):\n{body}\n\ndef other():\n    return copied([1, 2, 3])\n")
    return root


def test_records_that_share_a_line_are_dropped_and_counted(project, tmp_path, capsys):
    held = write(tmp_path / "benchmark.jsonl", [ANSWER, "short = 1"])
    config = CorpusConfig(sources=(str(project),), held_out=(held,), code_only=("function", "module"))
    workdir = Workdir(tmp_path / "run")
    result = build_corpus(config, workdir, workers=1)
    codes = [pair.code for split in ("train", "dev", "test") for pair in read_pairs(workdir, split)]
    assert not any(LINE in code for code in codes)
    assert len(codes) == 4 * 2 + 1  # four functions, their modules, and other()
    assert any(code.startswith("def other") for code in codes)
    assert result.manifest["counts"]["held_out"] == 2  # the function and its module
    dropped = json.loads((workdir.corpus / "card.json").read_text())["dropped"]
    assert dropped[RULE] == {"count": 2, "examples": ["project/copied.py:1", "project/copied.py:1"]}
    assert RULE in (workdir.corpus / "card.md").read_text()
    assert "2 that overlap with config.corpus.held_out were dropped" in capsys.readouterr().err


def test_the_summary_counts_none_too_and_is_silent_without_held_out_files(project, tmp_path, capsys):
    held = write(tmp_path / "other.jsonl", ["nothing(of, which, is, in, the, project)"])
    config = CorpusConfig(sources=(str(project),), held_out=(held,))
    assert build_corpus(config, Workdir(tmp_path / "a"), workers=1).manifest["counts"]["held_out"] == 0
    assert "0 that overlap with config.corpus.held_out" in capsys.readouterr().err
    build_corpus(CorpusConfig(sources=(str(project),)), Workdir(tmp_path / "b"), workers=1)
    assert "held_out" not in capsys.readouterr().err


def test_a_changed_file_runs_the_stage_again(project, tmp_path):
    path = tmp_path / "benchmark.jsonl.gz"
    config = CorpusConfig(sources=(str(project),), held_out=(write(path, ["short = 1"]),))
    workdir = Workdir(tmp_path / "run")
    assert build_corpus(config, workdir, workers=1).manifest["counts"]["pairs"] == 5
    assert not build_corpus(config, workdir, workers=1).ran
    write(path, [ANSWER])
    result = build_corpus(config, workdir, workers=1)
    assert result.ran
    assert result.manifest["counts"]["pairs"] == 4
    changed = build_corpus(dataclasses.replace(config, held_out_line_chars=50), workdir, workers=1)
    assert changed.manifest["counts"]["pairs"] == 5


def test_held_out_lines_need_code_and_nothing_else(project, tmp_path):
    path = tmp_path / "benchmark.jsonl"
    path.write_text("\n" + json.dumps({"code": ANSWER, "split": "no split"}) + "\n")
    config = CorpusConfig(sources=(str(project),), held_out=(str(path),))
    assert build_corpus(config, Workdir(tmp_path / "run"), workers=1).manifest["counts"]["held_out"] == 1
    for line, reason in (("{", "not JSON"), ('{"text": "a"}', "no 'code'"), ('{"code": 1}', "'code' is not a string")):
        path.write_text(json.dumps({"code": ANSWER}) + "\n" + line)
        with pytest.raises(
            UserError, match=rf"config\.corpus\.held_out: {path}:2: {reason}.*; correct or delete the line"
        ):
            build_corpus(config, Workdir(tmp_path / "run"), workers=1)


def test_mistakes(project, tmp_path):
    def build(name):
        build_corpus(CorpusConfig(sources=(str(project),), held_out=(str(name),)), Workdir(tmp_path / "run"))

    with pytest.raises(UserError, match=r"held_out: '.*none\.jsonl' cannot be read: No such file"):
        build(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"held_out: '.*project' is no file of pairs; convert it to one of \.jsonl"):
        build(project)
    (tmp_path / "bad.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="is damaged after line 0"):
        build(tmp_path / "bad.jsonl.gz")
    assert not (tmp_path / "run" / "corpus").exists()
    with pytest.raises(UserError, match=r"config\.corpus\.held_out names 'a\.jsonl', one of config\.corpus\.sources"):
        check(Experiment(corpus=CorpusConfig(sources=("a.jsonl", "b"), held_out=("c.jsonl", "a.jsonl"))))
    with pytest.raises(UserError, match=r"config\.corpus\.held_out_line_chars must be at least 0"):
        check(Experiment(corpus=CorpusConfig(held_out_line_chars=-1)))
