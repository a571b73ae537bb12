"""Prompts from files and pipes: where lines end, and what is no prompt."""

import io
import json
import os
import threading

import pytest

from t2c_jax.decode.prompts import read_prompts
from t2c_jax.errors import UserError

ODD = "a\u2028b\u2029c\x85d\x0ce\x0bf\x1cg"  # all that str.splitlines ends a line at, but newlines


def read(tmp_path, content, name="prompts.txt", key="text"):
    path = tmp_path / name
    path.write_bytes(content)
    return read_prompts(str(path), key)


def test_a_line_ends_at_a_newline_alone(tmp_path):
    assert read(tmp_path, f"{ODD}\r\n \n\n last".encode()) == [ODD, " last"]
    objects = "".join(json.dumps({"text": ODD, "code": text}, ensure_ascii=False) + "\n" for text in ("x\n", "y"))
    assert read(tmp_path, objects.encode(), "prompts.jsonl") == [ODD, ODD]
    assert read(tmp_path, objects.encode(), "prompts.jsonl", "code") == ["x\n", "y"]


OBJECTS = b'{"text": "add"}\n\n{"text": "swap", "id": 3}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, OBJECTS) for name in ("q.jsonl", "Q.JSONL", "q.ndjson", "q.JsonLines", "q.json", "q.txt", "prompts")),
        ("q.json", b'[{"text": "add"}, {"text": "swap"}]'),
        ("q.json", b'\xef\xbb\xbf[\r\n {"text": "add"},\r\n "swap"]\r\n'),
        ("q.JSON", b'["add", "swap"]'),
        ("q.txt", b"add\nswap\n"),
    ],
)
def test_json_is_read_as_json(tmp_path, name, content):
    assert read(tmp_path, content, name) == ["add", "swap"]


def test_one_json_object_is_one_prompt(tmp_path):
    assert read(tmp_path, b'{\n "text": "add\\nit"\n}', "q.json") == ["add\nit"]


def test_standard_input_may_be_json_lines(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(OBJECTS)))
    assert read_prompts("-", "text") == ["add", "swap"]
    said = " ".join(capsys.readouterr().err.split())
    assert "standard input: every line is a JSON object with a 'text', so that is read as the prompt" in said


def test_text_with_some_json_in_it_is_text(tmp_path):
    lines = ['{"text": "add"}', "swap", '{"code": "x"}']
    assert read(tmp_path, "\n".join(lines).encode()) == lines


@pytest.mark.parametrize("name", ["q.csv", "q.YAML", "q.jsonl.gz", "q.parquet"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="neither plain text nor JSON; convert it"):
        read(tmp_path, b"text\nadd\n", name)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    assert read(tmp_path, "\ufeffone\ntwo".encode()) == ["one", "two"]
    assert read(tmp_path, b'\xef\xbb\xbf{"text": "one"}', "prompts.jsonl") == ["one"]


def test_a_pipe_is_a_file(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"one\ntwo\n",))
    writer.start()
    assert read_prompts(str(path), "text") == ["one", "two"]
    writer.join()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\n\xff\n", "a.txt:2: not UTF-8"),
        ("a.txt", "UTF-16".encode("utf-16"), "a.txt:1: not UTF-8"),
        ("a.txt", b"\n \r\n", "no prompts in "),
        ("a.jsonl", b'{"text": "fine"}\n\n{"text": 1}', "a.jsonl:3: not a JSON object with a 'text'"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: not a JSON object"),
        ("a.jsonl", b'{"text": "\\ud800"}', "a.jsonl:1: not a JSON object"),
        ("a.jsonl", b'{"text": "cut', "a.jsonl:1: not a JSON object"),
        ("a.ndjson", b'"text"', "a.ndjson:1: not a JSON object"),
        ("a.json", b'[{"text": "fine"}, {"code": "x"}]', "a.json: item 2 is neither an object with a 'text' nor a str"),
        ("a.json", b'["\\ud800"]', "a.json: item 1 is neither"),
        ("a.json", b"3", "a.json: item 1 is neither"),
        ("a.json", b"add two numbers", "a.json: not JSON; it may hold an array of objects with a 'text'"),
        ("a.json", b'{"text": "fine"}\n{"text": 1}', "a.json:2: not a JSON object with a 'text'"),
        ("a.json", b"[]", "no prompts in "),
        ("a.json", b"", "a.json: not JSON"),
        ("a.json", b"[" * 100_000, "a.json: not JSON"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_prompt(tmp_path, name, content, message):
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, name)
    assert message in str(caught.value)


def test_what_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"input file '.*none' does not exist"):
        read_prompts(str(tmp_path / "none"), "text")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_prompts(str(tmp_path), "text")
    monkeypatch.setattr("sys.stdin", None)  # as where it is closed
    with pytest.raises(UserError, match="no prompts in standard input"):
        read_prompts("-", "text")
