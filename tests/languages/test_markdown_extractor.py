import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.markdown.extractor import extract_markdown


def extract(source, **config):
    data = source if isinstance(source, bytes) else source.encode()
    return extract_markdown(data, CorpusConfig(**config))


README = """# Tool

Some [words](https://example.org) about *it*.

## Usage

Call `run` with
a name:

```python
run("a")

    # indented
```

```python
without_prose()
```

In a list:

1. First do this.

   ~~~ {.Bash title="x"}
   make all
   ~~~

2. Then nothing.

> Quoted advice:
>
> ```js
> let a = 1
> ```

Setext heading
--------------

```python
heading_is_no_prose()
```

A table comes between.

| a | b |
|---|---|
| 1 | 2 |

```python
after_table()
```
"""


def test_blocks_come_with_heading_and_paragraph():
    found = extract(README)
    assert [(pair.language, pair.text, pair.code) for pair in found.extracts] == [
        ("python", "Usage\nCall `run` with\na name:", 'run("a")\n\n    # indented'),
        ("shell", "Usage\nFirst do this.", "make all"),
        ("javascript", "Usage\nQuoted advice:", "let a = 1"),
    ]
    assert {pair.kind for pair in found.extracts} == {"markdown"}
    assert found.skipped == [
        ("code block without introducing prose", 16),
        ("code block without introducing prose", 39),
        ("code block without introducing prose", 49),
    ]


def test_lines_point_at_the_block():
    pair = extract(README).extracts[0]
    lines = README.split("\n")[pair.start_line - 1 : pair.end_line]
    assert (lines[0], lines[-1]) == ("```python", "```")


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("```\nx = 1\n```", "code block without a language"),
        ("```console\n$ ls\n```", "code block that is no code"),
        ("```text\nwords\n```", "code block that is no code"),
        ("```python\n>>> 1 + 1\n2\n```", "interactive session"),
        ("```bash\n$ make\n```", "interactive session"),
        ("```sh\nuser@host:~$ make\n```", "interactive session"),
    ],
)
def test_what_is_no_code_is_skipped(block, reason):
    found = extract(f"Run this:\n\n{block}\n")
    assert (found.extracts, found.skipped) == ([], [(reason, 3)])


@pytest.mark.parametrize(("data", "reason"), [(b"Prose\xff\n", "undecodable"), (b"Prose\0\n", "null bytes")])
def test_bad_bytes_are_told(data, reason):
    assert extract(data).skipped == [(reason, 0)]


def test_line_ends_and_byte_order_mark():
    found = extract("\ufeff# T\r\n\r\nDo:\r\n\r\n```c\r\nint a;\r\nint b;\r\n```\r\n".encode())
    assert [(pair.text, pair.code) for pair in found.extracts] == [("T\nDo:", "int a;\nint b;")]


def test_an_open_fence_ends_with_the_file():
    assert extract("Do:\n\n```c\nint a;").extracts[0].code == "int a;"


def test_deep_nesting_is_survived():
    assert extract("> " * 5000 + "a\n" + "[" * 5000 + "\n" + "- " * 5000).extracts == []


def test_kinds_choose():
    found = extract(README, kinds=("function",))
    assert (found.extracts, found.skipped) == ([], [])
