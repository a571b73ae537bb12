import gzip
import io
import json
from pathlib import Path

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.corpus.pairs_file import file_formats
from t2c_jax.corpus.pairs_file.pair_reader import read_file
from t2c_jax.corpus.pairs_file.split_names import splits_of_files
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import PairsFile, resolve
from t2c_jax.errors import UserError


def read(path, share=0.99):
    source = resolve(str(path), CorpusConfig(), Path("nowhere"))
    report, aside = SourceReport(source.name, split=splits_of_files([source])[source.name]), io.StringIO()
    candidates = list(read_file(source, CorpusConfig(max_malformed_share=share), report, aside, lambda: None))
    return candidates, report, [json.loads(line) for line in aside.getvalue().splitlines()]


def test_lines_become_pairs(tmp_path):
    lines = [
        {"text": "a", "code": "x\r\n\ty"},
        {"text": "ä", "code": "b", "id": "own", "split": "validation", "language": "SQL", "extra": [1]},
        {"text": "c", "code": "d", "id": 7, "group": "g", "split": None},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\n\n".join(json.dumps(line) for line in lines).encode())
    candidates, report, aside = read(path)
    first, second, third = (candidate.pair for candidate in candidates)
    assert (first.text, first.code, first.split, first.language, first.kind) == (
        "a",
        "x\r\n\ty",
        "",
        "",
        "file-of-pairs",
    )
    assert str(first.source) == f"{tmp_path.name}/pairs.jsonl:1"
    assert (second.id, second.text, second.split, second.language) == ("own", "ä", "dev", "sql")
    assert second.source.start_line == 3
    assert third.id == "7"
    assert [candidate.group for candidate in candidates] == [first.id, "own", "g"]
    assert (report.lines, report.pairs, report.malformed, aside) == (3, 3, 0, [])


MALFORMED = {
    b'{"text": "a"': "not JSON (Expecting ',' delimiter)",
    b'["text", "code"]': "not a JSON object",
    b'{"code": "b"}': "no 'text'",
    b'{"text": "a", "code": null}': "'code' is not a string",
    b'{"text": 1, "code": "b"}': "'text' is not a string",
    b'{"text": "a", "code": "b", "language": []}': "'language' is not a string",
    b'{"text": "a", "code": "b", "id": {}}': "'id' is neither a string nor an integer",
    b'{"text": "a", "code": "b", "group": 1.5}': "'group' is neither a string nor an integer",
    b'{"text": "a", "code": "b", "split": "tset"}': "unknown split",
    b'{"text": "a", "code": "b", "split": []}': "'split' is not a string",
    b'{"text": "\\ud800", "code": "b"}': "a lone surrogate, or bytes that are not UTF-8",
    b'{"text": "a", "code": "b", "tests": {"stdin": "\\ud800"}}': "a lone surrogate, or bytes that are not UTF-8",
    b'{"text": "a", "code": "b", "tests": {"test": 1}}': "'test' is neither a string nor a list of strings",
    b'{"text": "\xff", "code": "b"}': "not UTF-8",
    b"[" * 100_000: "not JSON (RecursionError)",
    b'{"text": "a", "code": "b", "id": ' + b"1" * 5000 + b"}": "not JSON (ValueError)",
}


def test_malformed_lines_are_counted_located_and_quarantined(tmp_path):
    path = tmp_path / "pairs.jsonl"
    good = b'{"text": "a", "code": "b"}'
    path.write_bytes(b"\n".join([good, *MALFORMED, good]))
    candidates, report, aside = read(path)
    assert len(candidates) == 2
    assert (report.lines, report.malformed) == (len(MALFORMED) + 2, len(MALFORMED))
    for number, (raw, reason) in enumerate(MALFORMED.items(), start=2):
        assert aside[number - 2] == {
            "file": str(path),
            "line": number,
            "reason": reason,
            "text": raw.decode("utf-8", "backslashreplace"),
        }
        assert f"{path}:{number}" in report.skipped.examples[f"malformed line: {reason}"]


def test_a_files_split_is_that_of_lines_that_name_none(tmp_path):
    path = tmp_path / "test.jsonl"
    lines = [{"text": "a", "code": "b", **named} for named in ({}, {"split": None}, {"split": ""}, {"split": "val"})]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [candidate.pair.split for candidate in read(path)[0]] == ["test", "test", "test", "dev"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("dev.jsonl", "dev"),
        ("Test.jsonl", "test"),
        ("conala-dev.jsonl", "dev"),
        ("test-00000-of-00001.jsonl", "test"),
        ("django.dev.jsonl.gz", "dev"),
        ("validation_set.jsonl", "dev"),
        ("python_valid_0.jsonl", "dev"),
        ("my val (2).jsonl", "dev"),
        ("EVALUATION.jsonl", "test"),
        ("test2.jsonl", "test"),
        ("python_train_0.jsonl", ""),
        ("contest.jsonl", ""),
        ("latest_pytests.jsonl", ""),
        ("devices.jsonl", ""),
        ("train_and_test.jsonl", ""),
        ("tests.d-jsonl.jsonl", ""),
    ],
)
def test_a_word_of_the_files_name_is_its_split(name, split):
    assert splits_of_files([PairsFile(name, Path("test") / name, "", "test", name)]) == {name: split}


def test_a_training_file_stays_in_training_if_dev_and_test_files_exist():
    def splits(*names):
        return splits_of_files(PairsFile(name, Path(name), "", "", name) for name in names)

    assert splits("train.jsonl", "test.jsonl") == {"train.jsonl": "", "test.jsonl": "test"}
    assert splits("a_Train.jsonl", "test.jsonl", "valid.jsonl")["a_Train.jsonl"] == "train"


def test_partition_counts_as_split(tmp_path):
    path = tmp_path / "csn.jsonl"
    named = [
        {"partition": "train"},
        {"partition": "valid"},
        {"partition": "Test"},
        {"partition": "train", "split": "test"},
        {"partition": "2020-01"},
        {"partition": 7},
        {"split": "Validation"},
    ]
    path.write_text("".join(json.dumps({"text": "a", "code": "b", **line}) + "\n" for line in named))
    candidates, report, _ = read(path)
    assert [candidate.pair.split for candidate in candidates] == ["train", "dev", "test", "test", "", "", "dev"]
    assert report.malformed == 0


def test_languages_have_one_name(tmp_path):
    path = tmp_path / "pairs.jsonl"
    names = ["py", "Python3", "C++", None, "klingon"]
    path.write_text("".join(json.dumps({"text": "a", "code": "b", "language": name}) + "\n" for name in names))
    assert [candidate.pair.language for candidate in read(path)[0]] == ["python", "python", "cpp", "", "klingon"]


def test_too_many_malformed_lines_fail_with_the_first_place(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"text": "a", "code": "b"}\n' * 98 + "\n{\n[]\n")
    assert read(path, share=0.02)[1].malformed == 2
    with pytest.raises(UserError, match=rf"2 of 100 lines are malformed, the first at {path}:100: not JSON"):
        read(path, share=0.019)


def test_gzip(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    data = gzip.compress(b'{"text": "a", "code": "b"}\n' * 50_000)
    path.write_bytes(data)
    assert len(read(path)[0]) == 50_000
    for damaged in (data[: len(data) // 2], b"no gzip", data[:100] + b"\0" * 50 + data[150:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"source '.*' is damaged after line"):
            read(path)


def test_a_line_too_long_for_memory_is_malformed(tmp_path, monkeypatch):
    monkeypatch.setattr(file_formats, "_LINE_BYTES", 100)
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"text": "' + b"a" * 1000 + b'", "code": "b"}\n{"text": "a", "code": "b"}\n')
    candidates, report, aside = read(path)
    assert [candidate.pair.source.start_line for candidate in candidates] == [2]
    assert report.skipped.counts == {"malformed line: longer than 100 bytes": 1}
    assert len(aside[0]["text"]) == 100


def test_a_reversed_pair_asks_with_its_code():
    pair = Pair("a", "the text", "code()", "python", "function", Source("r", "", "p.py", 1, 2, "MIT"), "dev")
    other = pair.reverse()
    assert (other.text, other.code, other.language) == ("code()", "the text", "text")
    assert (other.id, other.kind, other.source, other.split) == (pair.id, pair.kind, pair.source, "dev")
