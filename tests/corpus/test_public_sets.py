"""The public sets: their formats on samples in the published form, what is refused, and one as a source of a corpus."""

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import socket
import sqlite3
import threading
import zipfile
from pathlib import Path

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.sets import downloads, set_builder
from t2c_jax.corpus.sets.catalog import SETS, public_set
from t2c_jax.corpus.sets.published_files import NotAsPublished, PublishedFile, file_digest, find_files
from t2c_jax.corpus.sets.published_formats import without_docstring
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

HUMANEVAL = {
    "task_id": "HumanEval/9000",
    "prompt": 'def twice(x: int) -> int:\n    """Doubles x."""\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * x\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2) == 4\n\n",
}
MBPP = {
    "text": "Write a function to double a number.",
    "code": "def twice(x):\r\n  return math.ldexp(x, 1)",
    "test_list": ["assert twice(2) == 4", "assert twice(0) == 0"],
    "test_setup_code": "import math",
    "challenge_test_list": [],
}
SANITIZED = {
    "source_file": "questions.ipynb",
    "prompt": "Write a function to double a number.",
    "code": "def twice(x):\n  return 2 * x",
    "test_imports": [],
    "test_list": ["assert twice(2) == 4"],
}
ODEX = {
    "task_id": 12,
    "prompt": "def f_12(xs):\n\treturn ",
    "suffix": "",
    "canonical_solution": "[2 * x for x in xs]",
    "test_start": "\ndef check(candidate):",
    "test": ["\n    assert candidate([1]) == [2]\n", "\n    assert candidate([]) == []\n"],
    "entry_point": "f_12",
    "intent": "double each of `xs`",
    "library": [],
}
CURATED = [
    {"intent": "How to double?", "rewritten_intent": "double `x`", "snippet": "x * 2", "question_id": 5},
    {"intent": "How to halve?", "rewritten_intent": None, "snippet": "x / 2\n", "question_id": 6},
]
MINED = {
    "parent_answer_post_id": 7,
    "prob": 0.87,
    "snippet": "x + x",
    "intent": "How to double?",
    "id": "5_7_0",
    "question_id": 5,
}
TLDR = {"nl": "list files", "cmd": "ls {{path}}", "cmd_name": "ls", "oracle_man": ["ls_1"], "question_id": "17"}
FUNCTION = {
    "repo": "owner/name",
    "path": "a.py",
    "func_name": "twice",
    "code": 'def twice(x):\n    """Doubles x.\n\n    :param x: what.\n    """\n    return 2 * x',
    "docstring": "Doubles x.\n\n:param x: what.",
    "language": "python",
    "partition": "train",
}
SCHEMA = {
    "db_id": "shop",
    "table_names_original": ["item", "sale"],
    "column_names_original": [[-1, "*"], [0, "id"], [0, "name"], [1, "item_id"]],
}
QUESTION = {"db_id": "shop", "question": "How many items? ", "query": "SELECT count(*) FROM item", "sql": {}}


def jsonl(*rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def packed(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def conala():
    return packed(
        {
            "conala-corpus/conala-train.json": json.dumps(CURATED),
            "conala-corpus/conala-test.json": json.dumps(CURATED[:1]),
            "conala-corpus/conala-mined.jsonl": jsonl(MINED),
        }
    )


def code_search_net():
    return packed(
        {
            f"python/final/jsonl/{split}/python_{split}_{number}.jsonl.gz": gzip.compress(
                jsonl(FUNCTION | {"func_name": f"{split}{number}", "repo": f"owner/{split}{number}"}).encode()
            )
            for split, number in (("train", 10), ("train", 2), ("valid", 0), ("test", 0))
        }
    )


# The files of a part in the published form, and by split the texts and codes that are read.
SAMPLES = {
    "humaneval": (
        {"HumanEval.jsonl.gz": gzip.compress(jsonl(HUMANEVAL).encode())},
        {"test": [(HUMANEVAL["prompt"], "    return 2 * x\n")]},
    ),
    "mbpp/full": (
        {"mbpp/mbpp.jsonl": jsonl(*(MBPP | {"task_id": task} for task in (1, 10, 11, 510, 511, 600, 601, 974)))},
        {
            split: [
                (
                    "Write a function to double a number. Your code should pass these tests:\nassert twice(2) == 4\n"
                    "assert twice(0) == 0",
                    "def twice(x):\n  return math.ldexp(x, 1)",
                )
            ]
            * count
            for split, count in (("train", 4), ("dev", 2), ("test", 2))
        },
    ),
    "mbpp/sanitized": (
        {"sanitized-mbpp.json": json.dumps([SANITIZED | {"task_id": task} for task in (2, 11, 600)])},
        {
            split: [
                (
                    "Write a function to double a number. Your code should pass these tests:\nassert twice(2) == 4",
                    "def twice(x):\n  return 2 * x",
                )
            ]
            for split in ("train", "dev", "test")
        },
    ),
    "odex/es": ({"data/es_test.jsonl": jsonl(ODEX)}, {"test": [("double each of `xs`", "[2 * x for x in xs]")]}),
    "conala/curated": (
        {"conala-corpus-v1.1.zip": conala()},
        {"train": [("double `x`", "x * 2"), ("How to halve?", "x / 2")], "test": [("double `x`", "x * 2")]},
    ),
    "conala/mined": (
        {"conala-corpus/conala-mined.jsonl": jsonl(MINED)},  # unpacked
        {"train": [("How to double?", "x + x")]},
    ),
    "tldr": (
        {f"cmd_{split}.oracle_man.full.json": json.dumps([TLDR]) for split in ("train", "dev", "test")},
        {split: [("list files", "ls {{path}}")] for split in ("train", "dev", "test")},
    ),
    "nl2bash/all": (
        {"data/bash/all.nl": "list files\nshow me\n", "data/bash/all.cm": "ls\nwhoami\n"},
        {"train": [("list files", "ls"), ("show me", "whoami")]},
    ),
    "nl2bash/filtered": (
        {
            f"{split}.{kind}.filtered": f"{kind} of {split}\n"
            for split in ("train", "dev", "test")
            for kind in ("nl", "cm")
        },
        {split: [(f"nl of {split}", f"cm of {split}")] for split in ("train", "dev", "test")},
    ),
    "nlrx/turk": (
        {
            f"turk/{side}-{split}.txt": f"{side} {split}"
            for side in ("src", "targ")
            for split in ("train", "val", "test")
        },
        {
            split: [(f"src {name}", f"targ {name}")]
            for split, name in (("train", "train"), ("dev", "val"), ("test", "test"))
        },
    ),
    "django": (
        {
            "all.anno": "".join(f"  text {number}. \n" for number in range(17_002)),
            "all.code": "".join(f"    code ( {number} )\n" for number in range(17_002)),
        },
        {
            split: [(f"text {number}.", f"code ( {number} )") for number in numbers]
            for split, numbers in (
                ("train", range(16_000)),
                ("dev", range(16_000, 17_000)),
                ("test", range(17_000, 17_002)),
            )
        },
    ),
    "hearthstone": (
        {
            name: text
            for split in ("train", "dev", "test")
            for name, text in (
                (f"{split}_hs.in", "Ooze NAME_END 3 ATK_END Destroy.\n"),
                (f"{split}_hs.out", "class Ooze(Card):§    def attack(self):§        return 3§\n"),
            )
        },
        {
            split: [
                (
                    "Ooze NAME_END 3 ATK_END Destroy.",
                    "class Ooze(Card):\n    def attack(self):\n        return 3",
                )
            ]
            for split in ("train", "dev", "test")
        },
    ),
    "concode": (
        {
            f"concode/{split}.json": jsonl(
                {"code": "int function ( ) { return n ; }", "nl": "counts concode_field_sep"}
            )
            for split in ("train", "dev")
        },
        {split: [("counts concode_field_sep", "int function ( ) { return n ; }")] for split in ("train", "dev")},
    ),
    "codesearchnet/python": (
        {"python.zip": code_search_net()},
        {
            split: [("Doubles x.\n\n:param x: what.", "def twice(x):\n    return 2 * x")] * count
            for split, count in (("train", 2), ("dev", 1), ("test", 1))
        },
    ),
    "spider": (
        {
            "spider/train_spider.json": json.dumps([QUESTION, QUESTION]),
            "spider/dev.json": json.dumps([QUESTION]),
            "spider/tables.json": json.dumps([SCHEMA]),
        },
        {
            split: [("How many items? | shop | item : id , name | sale : item_id", "SELECT count(*) FROM item")] * count
            for split, count in (("train", 2), ("dev", 1))
        },
    ),
    "jobs": (
        {"seq2seq_jobqueries.zip": packed({"train.txt": "all\tjob ( ANS )\n", "test.txt": "some\tjob ( ANS )\n"})},
        {"train": [("all", "job ( ANS )")], "test": [("some", "job ( ANS )")]},
    ),
    "geo": (
        {"geo/train.txt": "where is c0\tlambda $0 e ( loc:t c0 $0 )\n", "geo/test.txt": "c0\tc0\n"},
        {"train": [("where is c0", "lambda $0 e ( loc:t c0 $0 )")], "test": [("c0", "c0")]},
    ),
}


def write(directory: Path, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def found(name, directory):
    public, part = public_set(name)
    return part, find_files(public.name, part.name, part.files, directory)


def test_every_set_has_a_sample():
    assert {name.partition("/")[0] for name in SAMPLES} == set(SETS)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_published_format(name, tmp_path):
    files, expected = SAMPLES[name]
    part, opened = found(name, write(tmp_path, files))
    rows = {split: list(part.read(opened, split)) for split in part.splits}
    assert {split: [(row["text"], row["code"]) for row in held] for split, held in rows.items()} == expected


def passes(row):
    exec(row["tests"].source(row["code"]), {})


@pytest.mark.parametrize("name", ["humaneval", "mbpp/full", "mbpp/sanitized", "odex/es"])
def test_the_tests_of_a_set_accept_its_code_and_no_other(name, tmp_path):
    part, opened = found(name, write(tmp_path, SAMPLES[name][0]))
    row = next(part.read(opened, "test"))
    passes(row)
    with pytest.raises(AssertionError):
        passes(row | {"code": row["code"].replace("2 *", "3 *").replace(", 1)", ", 2)")})


def test_questions_of_spider_can_be_run_where_their_databases_are(tmp_path, monkeypatch):
    directory = write(tmp_path, SAMPLES["spider"][0])
    part, opened = found("spider", directory)
    assert "tests" not in next(part.read(opened, "dev"))
    path = directory / "database" / "shop" / "shop.sqlite"
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("CREATE TABLE item (id, name); INSERT INTO item VALUES (1, 'caf\u00e9'), (2, 'b');")
        database.execute("INSERT INTO item VALUES (3, CAST(x'e9' AS TEXT))")  # not UTF-8, as some of the set
        database.commit()
    part, opened = found("spider", directory)
    row = next(part.read(opened, "dev"))
    with contextlib.closing(sqlite3.connect(":memory:")) as made:
        made.executescript(row["tests"].setup)
        assert made.execute(row["code"]).fetchall() == [(3,)]
    assert "tests" not in next(part.read(opened, "train"))
    with monkeypatch.context() as patch:
        patch.setattr("t2c_jax.corpus.sets.published_formats.SCRIPT_CHARS", 10)
        assert "tests" not in next(part.read(opened, "dev"))
    path.write_bytes(b"no database" * 100)
    with pytest.raises(NotAsPublished, match=r"'shop\.sqlite' is damaged"):
        next(part.read(opened, "dev"))


def test_pairs_of_one_question_command_repository_or_database_are_a_group(tmp_path):
    for name, group in (
        ("conala/curated", "5"),
        ("nl2bash/all", "ls"),
        ("codesearchnet/python", "owner/train2"),  # the files in the order of their numbers
        ("spider", "shop"),
        ("tldr", "ls"),
    ):
        part, opened = found(name, write(tmp_path / name, SAMPLES[name][0]))
        assert next(part.read(opened, "train"))["group"] == group


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ('def f():\n    r"""Does it."""\n    return 1', "def f():\n    return 1"),
        ("def f():  # fast\n    'Does it.'; return 1", "def f():  # fast\nreturn 1"),
        ('def f():\n    """Another string."""\n    return 1', 'def f():\n    """Another string."""\n    return 1'),
        ('def f():\n    """Does it."""\n', 'def f():\n    """Does it."""\n'),  # there is nothing else
        ('int f() { return "a:\\n"; }', 'int f() { return "a:\\n"; }'),
    ],
)
def test_code_without_its_docstring(code, without):
    assert without_docstring(code, "Does it.") == without


def test_the_digests_of_the_table():
    """Each has the length of its kind; nothing that is read lacks a file."""
    for public in SETS.values():
        for part in public.parts:
            assert part.files
            assert set(part.splits) <= {"train", "dev", "test"}
            for file in part.files:
                kind, _, value = file.digest.partition(":")
                assert not file.digest or len(value) == {"sha256": 64, "git": 40}[kind], file
                assert file.url.startswith("http")


def test_digests(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"published\n")
    assert file_digest(path) == f"sha256:{hashlib.sha256(b'published' + bytes([10])).hexdigest()}"
    assert file_digest(path, "git") == "git:" + hashlib.sha1(b"blob 10\0published\n").hexdigest()


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """Where TFDS writes."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def config(name, directory, **fields):
    return CorpusConfig(
        sources=(f"tfds:{name}",), set_files=str(directory), min_text_chars=1, min_code_chars=1, **fields
    )


def splits(pairs):
    return {split: [(pair.text, pair.code) for pair in pairs(split)] for split in ("train", "dev", "test")}


def test_a_set_is_a_source(tmp_path, data_dir, capsys):
    """It is written once, opened without its files, and written again from others."""
    directory = write(tmp_path / "files", SAMPLES["mbpp/sanitized"][0])
    with pytest.raises(
        UserError, match=r"train has 1 pairs, published 127; dev has 1 pairs, published 43; test"
    ) as error:
        build_corpus(config("mbpp/sanitized", directory), Workdir(tmp_path / "run"))
    assert "accept_counts=True" in str(error.value)
    assert not list(data_dir.glob("mbpp/sanitized/1*"))  # nothing half-written

    workdir = Workdir(tmp_path / "run")
    accepted = config("mbpp/sanitized", directory, accept_counts=True, deduplicate=False, min_alphanumeric_share=0.0)
    assert build_corpus(accepted, workdir).ran
    assert "differs from the published set" in " ".join(capsys.readouterr().err.split())
    assert splits(lambda split: read_pairs(workdir, split)) == SAMPLES["mbpp/sanitized"][1]
    (pair,) = read_pairs(workdir, "test")
    assert (pair.id, pair.language, pair.source.licence) == ("mbpp/11", "python", "CC-BY-4.0")
    assert pair.tests is not None
    assert pair.tests.test == "assert twice(2) == 4"
    assert pair.source.repository == "mbpp/sanitized/1.0.0"
    assert not build_corpus(accepted, workdir).ran

    assert set_builder.open_set("mbpp/sanitized", accept_counts=True).info.splits["dev"].num_examples == 1
    with pytest.raises(UserError, match="published 43"):
        set_builder.open_set("mbpp/sanitized")

    write(
        directory, {"sanitized-mbpp.json": json.dumps([SANITIZED | {"task_id": task} for task in (601, 602, 11, 600)])}
    )
    assert build_corpus(accepted, workdir).ran
    assert len(list(read_pairs(workdir, "train"))) == 2


def test_a_set_is_held_out_by_its_name(tmp_path, data_dir):
    directory = write(tmp_path / "files", SAMPLES["mbpp/sanitized"][0])
    answer = SAMPLES["mbpp/sanitized"][1]["test"][0][1]
    lines = [{"text": "a text", "code": code} for code in (answer, "another = 1")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    held = CorpusConfig(
        sources=(str(tmp_path / "train.jsonl"),),
        held_out=("tfds:mbpp/sanitized",),
        set_files=str(directory),
        accept_counts=True,
        min_text_chars=1,
        min_code_chars=1,
    )
    workdir = Workdir(tmp_path / "run")
    result = build_corpus(held, workdir)
    assert result.manifest["counts"]["held_out"] == 1
    assert [pair.code for pair in read_pairs(workdir, "train")] == ["another = 1"]
    assert not (workdir.path / ".corpus.held_out").exists()
    assert not build_corpus(held, workdir).ran


def test_a_dev_split_is_made_of_training_pairs_where_a_set_has_none(tmp_path, data_dir):
    files = {"train.txt": "".join(f"ask {n}\tjob ( {n} )\n" for n in range(40)), "test.txt": "some\tjob ( ANS )\n"}
    shares = {"dev_share": 0.25, "test_share": 0.0, "accept_counts": True, "min_alphanumeric_share": 0.0}
    workdir = Workdir(tmp_path / "run")
    build_corpus(config("jobs", write(tmp_path / "files", files), **shares), workdir)
    made = splits(lambda split: read_pairs(workdir, split))
    assert made["test"] == [("some", "job ( ANS )")]
    assert 4 <= len(made["dev"]) <= 16
    assert len(made["dev"]) + len(made["train"]) == 40


def test_plain_tfds_opens_a_set(tmp_path, data_dir):
    directory = write(tmp_path / "files", SAMPLES["hearthstone"][0])
    set_builder.open_set("hearthstone", str(directory), accept_counts=True)
    import tensorflow_datasets as tfds

    data, info = tfds.load("hearthstone", split="dev", with_info=True)
    (example,) = tfds.as_numpy(data)
    assert example["code"].decode().startswith("class Ooze(Card):\n    def")
    assert example["kind"] == b"class"
    assert "Ling et al. 2016" in info.citation


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("humanevall", {}, "'tfds:humanevall' cannot be opened; did you mean 'humaneval'?"),
        ("mbpp/sanitised", {}, "'tfds:mbpp/sanitised' is unknown; did you mean 'sanitized'?; its parts are full, san"),
        ("tldr/a", {}, "'tfds:tldr/a' is unknown; it has no parts"),
        (
            "django",
            {"all.anno": "", "other.code": ""},
            "lacks all.code; published at https://raw.githubusercontent.com/odashi/ase15-django-dataset/",
        ),
        ("nl2bash/filtered", {"all.nl": ""}, "split_data.py"),
        ("django", {"all.anno": "a\nb\n", "all.code": "a\n"}, "'all.code' ends before line 2"),
        ("jobs", {"train.txt": "a\tb\nc d\n", "test.txt": ""}, "line 2 of 'train.txt' has no tab"),
        ("jobs", {"seq2seq_jobqueries.zip": "no"}, "'seq2seq_jobqueries.zip' is no archive"),
        ("jobs", {"train.txt": b"a\t\xff\n", "test.txt": ""}, "'train.txt' is not UTF-8"),
        ("humaneval", {"HumanEval.jsonl.gz": "plain"}, "'HumanEval.jsonl.gz' is damaged"),
        (
            "humaneval",
            {"HumanEval.jsonl.gz": gzip.compress(b"{}\n")},
            "line 1 of 'HumanEval.jsonl.gz' has no 'task_id'",
        ),
        ("odex", {"en_test.jsonl": "[]\n"}, "line 1 of 'en_test.jsonl' has another form than the published set"),
        ("odex", {"en_test.jsonl": "{\n"}, "line 1 of 'en_test.jsonl' is not JSON"),
        ("mbpp/sanitized", {"sanitized-mbpp.json": "{}"}, "'sanitized-mbpp.json' is not a JSON array"),
    ],
)
def test_mistakes(name, files, message, tmp_path, data_dir):
    """A name, files that are missing, and files of another set are named in one line."""
    directory = write(tmp_path / "files", {"empty": "", **files})
    with pytest.raises(UserError) as error:
        build_corpus(config(name, directory), Workdir(tmp_path / "run"))
    assert message in str(error.value)
    assert str(error.value).startswith("source 'tfds:")


def test_a_directory_that_does_not_exist(tmp_path, data_dir):
    with pytest.raises(UserError, match=r"set_files '.*absent' is not a directory"):
        build_corpus(config("django", tmp_path / "absent"), Workdir(tmp_path / "run"))


CONTENT = b"published\n" * 1000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def server(monkeypatch):
    """A server of files whose answers are in a list, the last one for ever: (status, content, announced length)."""
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answers = self.server.answers
            status, content, length = answers.pop(0) if len(answers) > 1 else answers[0]
            self.server.asked += 1
            self.send_response(status)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = 0
        running.url = f"http://127.0.0.1:{running.server_address[1]}/all.code"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


GOOD = (200, CONTENT, len(CONTENT))
CUT = (200, CONTENT[:500], len(CONTENT))
CUT_UNSAID = (200, CONTENT[:500], None)


@pytest.mark.parametrize("answers", [[GOOD], [CUT, GOOD], [(503, b"", 0), CUT_UNSAID, GOOD]])
def test_a_download_is_whole(answers, server, tmp_path):
    """It is tried again where the connection ends early or the server fails; nothing else stays in the directory."""
    server.answers = list(answers)
    file = PublishedFile(server.url, DIGEST)
    path = downloads.download(file, tmp_path)
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == ["all.code"]
    assert server.asked == len(answers)
    assert downloads.download(file, tmp_path) == path
    assert server.asked == len(answers)


def test_a_file_that_was_cut_is_downloaded_again(server, tmp_path):
    server.answers = [GOOD]
    file = PublishedFile(server.url, DIGEST)
    path = downloads.download(file, tmp_path)
    path.write_bytes(CONTENT[:7])
    assert downloads.download(file, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "digest", "asked", "message"),
    [
        ((404, b"", 0), DIGEST, 1, "the server answers 404 Not Found"),
        ((500, b"", 0), DIGEST, 3, "the server answers 500 Internal Server Error"),
        (CUT, "", 3, "only 500 of 10,000 bytes came"),
        (CUT_UNSAID, DIGEST, 3, "it has changed, or was cut"),
        ((200, b"other", 5), DIGEST, 3, "it has changed, or was cut"),
    ],
)
def test_a_download_that_fails_leaves_nothing(answer, digest, asked, message, server, tmp_path):
    server.answers = [answer]
    with pytest.raises(NotAsPublished) as error:
        downloads.download(PublishedFile(server.url, digest), tmp_path)
    assert str(error.value).startswith(f"cannot download {server.url}: {message}")
    assert server.asked == asked
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_downloads_that_fail_say_what_to_do(tmp_path, data_dir, monkeypatch):
    """One line names the address, and how to give a directory."""
    monkeypatch.setattr(downloads, "WAITS", ())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(UserError) as error:
            set_builder.open_set("django")
    message = str(error.value)
    assert message.startswith("source 'tfds:django': cannot download https://raw.githubusercontent.com/odashi/")
    assert "Connection refused; download all.anno, all.code from https://" in message
    assert message.endswith("and name their directory with --config.corpus.set_files=DIR")
    assert "\n" not in message
    with pytest.raises(UserError, match="cannot be downloaded"):
        set_builder.open_set("nl2bash/filtered")


def test_a_set_is_downloaded_and_read(server, data_dir, monkeypatch):
    """The whole road from an address to a dataset."""
    content = b"a\tb\n"
    server.answers = [(200, content, len(content))]
    public, part = public_set("jobs")
    read = {"train": 1}
    files = (PublishedFile(server.url.replace("all.code", "train.txt")),)
    part = dataclasses.replace(part, files=files, splits=read)
    public = dataclasses.replace(public, name="downloaded_jobs", parts=(part,))
    monkeypatch.setattr(set_builder, "SETS", {public.name: public})
    monkeypatch.setattr(set_builder, "public_set", lambda _: (public, part))
    builder = set_builder.open_set(public.name)
    assert builder.info.splits["train"].num_examples == 1
    downloaded = Path(builder.data_path).parents[1] / "downloads"
    assert [path.name for path in downloaded.rglob("*.txt")] == ["train.txt"]
