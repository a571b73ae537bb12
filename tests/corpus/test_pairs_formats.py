import bz2
import csv
import gzip
import io
import json
import lzma
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.pairs_file.file_formats import SUFFIXES, read_rows
from t2c_jax.corpus.pairs_file.pair_reader import read_codes, read_file
from t2c_jax.corpus.pairs_file.split_names import splits_of_files
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import FileTree, PairsFile, resolve, resolve_all
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

ROWS = [
    {"text": 'Say "hi", twice.', "code": "print('hi')\r\n\tprint('hi')\n", "language": "py"},
    {"text": "Ünïcode →", "code": "x = [1,\t2]  # ,;\n", "language": "Python"},
]


def read(path, **config):
    config = CorpusConfig(**{"max_malformed_share": 0.99, **config})
    report, aside = SourceReport(str(path)), io.StringIO()
    candidates = list(read_file(PairsFile.of(str(path), path), config, report, aside, lambda: None))
    return [candidate.pair for candidate in candidates], report


def table(rows, delimiter=","):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def write(path, rows):
    """Writes rows in the format that the file's name says."""
    name = path.name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".arrow"):
        arrow = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(path, arrow.schema) as stream:
            stream.write_table(arrow)
    else:
        kind, _, compression = name.partition(".")[2].partition(".")
        if kind in ("csv", "tsv"):
            data = table(rows, "," if kind == "csv" else "\t")
        else:
            data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        if compression == "zst":
            with pa.CompressedOutputStream(str(path), "zstd") as file:
                file.write(data)
        else:
            packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "": bytes}[compression](data)
            path.write_bytes(packed)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_pairs(tmp_path, suffix):
    pairs, report = read(write(tmp_path / f"pairs{suffix}", ROWS))
    assert [(pair.text, pair.code) for pair in pairs] == [(row["text"], row["code"]) for row in ROWS]
    assert {pair.language for pair in pairs} == {"python"}
    assert (report.lines, report.pairs, report.malformed) == (2, 2, 0)
    assert len({pair.id for pair in pairs}) == 2


@pytest.mark.parametrize("suffix", [end for end in SUFFIXES if end not in (".jsonl", ".ndjson", ".csv", ".tsv")])
def test_damaged_files_are_named(tmp_path, suffix):
    path = write(tmp_path / f"pairs{suffix}", ROWS * 50)
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"no such format" * 9, b""):
        path.write_bytes(damaged)
        if damaged or suffix in (".parquet", ".arrow"):
            with pytest.raises(UserError, match=r"source '.*' is damaged after line"):
                read(path)
        else:  # an empty file of lines is one without lines, or no compressed file
            try:
                assert read(path)[0] == []
            except UserError as error:
                assert "is damaged after line" in str(error)  # noqa: PT017


def test_a_pointer_of_git_lfs_is_recognised(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(UserError, match="run 'git lfs pull'"):
        read(path)


def test_lines_of_a_table_with_fields_of_several_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbftext,code\r\nfirst,"a\r\nb"\r\n\r\nsecond,c\r\n"x"\r\ny,z,w\r\nthird,"\xff"\r\n')
    pairs, report = read(path)
    assert [(pair.text, pair.code, pair.source.start_line, pair.source.end_line) for pair in pairs] == [
        ("first", "a\r\nb", 2, 3),
        ("second", "c", 5, 5),
    ]
    assert report.skipped.counts == {
        "malformed line: 1 fields where the header has 2": 1,
        "malformed line: 3 fields where the header has 2": 1,
        "malformed line: a lone surrogate, or bytes that are not UTF-8": 1,
    }
    assert csv.field_size_limit() == 131072


def test_long_fields_are_read(tmp_path):
    pairs, _ = read(write(tmp_path / "a.csv", [{"text": "a", "code": "x" * 200_000}]))
    assert len(pairs[0].code) == 200_000


def test_columns_are_named_in_the_config(tmp_path):
    rows = [
        {"docstring": "a", "func": "b", "code": "no", "meta": {"lang": ["py"]}, "key": 7},
        {"docstring": None, "summary": "c", "func": "d", "code": "no", "meta": None, "key": 8},
    ]
    columns = ("text=docstring", "text=summary", "code=func", "language=meta.lang.0", "id=key")
    for name in ("a.jsonl", "a.parquet", "a.arrow"):
        path = write(tmp_path / name, rows)
        pairs, _ = read(path, columns=columns)
        assert (pairs[0].id, pairs[0].text, pairs[0].code, pairs[0].language) == ("7", "a", "b", "python")
        assert [*read_codes(PairsFile.of(name, path), "key", columns)] == ["b", "d"]
    pairs, _ = read(tmp_path / "a.jsonl", columns=columns)
    assert (pairs[1].id, pairs[1].text, pairs[1].code, pairs[1].language) == ("8", "c", "d", "")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("docstring",), "'docstring' must be PART=COLUMN, such as 'text=docstring'"),
        (("text=",), "must be PART=COLUMN"),
        (("txt=a",), "'txt' is no part of a pair; did you mean 'text'?"),
    ],
)
def test_mistakes_in_columns(columns, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        CorpusConfig(columns=columns).check("config.corpus")


def test_a_missing_column_names_those_that_there_are(tmp_path):
    path = write(tmp_path / "a.csv", [{"docstring": "a", "code": "b"}])
    with pytest.raises(UserError, match=r"a.csv:2: no 'text' among 'docstring', 'code'; name the columns in config"):
        read(path, max_malformed_share=0.5)


def folder(root, layout):
    for name, rows in layout.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if rows is None:
            path.write_text("---\ndataset_info:\n  features: []\n---\n# A card\n" if name == "README.md" else "{}")
        else:
            write(path, rows)


SAVED = {
    "dataset_dict.json": None,
    "train/data-00000-of-00001.arrow": ROWS,
    "train/state.json": None,
    "train/cache-1.arrow": ROWS,
    "test/data-00000-of-00001.arrow": ROWS,
    "validation/data-00000-of-00001.arrow": ROWS,
}
HUB = {"README.md": None, "data/train-00000-of-00001.parquet": ROWS, "load.py": None, ".cache/test.parquet": ROWS}
PLAIN = {"a_dev.csv": ROWS, "b.jsonl.gz": ROWS, "LICENSE": None}


@pytest.mark.parametrize(
    ("layout", "splits"),
    [(SAVED, ["test", "train", "dev"]), (HUB, [""]), (PLAIN, ["dev", ""])],
)
def test_folders_of_pairs(tmp_path, layout, splits):
    folder(tmp_path / "set", layout)
    files = resolve_all(CorpusConfig(sources=(str(tmp_path / "set"),)), Path("nowhere"))
    assert all(isinstance(file, PairsFile) for file in files)
    assert list(splits_of_files(files).values()) == splits
    assert {file.folder for file in files} == {"set"}
    assert all(file.name == f"{tmp_path}/set/{file.place}" for file in files)


@pytest.mark.parametrize("other", ["a.py", "notes.md", "b.rs"])
def test_a_directory_with_other_files_is_mined(tmp_path, other):
    folder(tmp_path, {"a.csv": ROWS, other: None})
    assert isinstance(resolve(str(tmp_path), CorpusConfig(), Path("nowhere")), FileTree)


def test_a_corpus_of_a_dataset_folder(tmp_path):
    rows = [{"q": f"Return the number {n}.", "a": f"def f():\n    return {n}\n" * 2} for n in range(9)]
    folder(tmp_path / "set", {"train/a.parquet": rows[:5], "test/a.parquet": rows[5:7], "dev/a.parquet": rows[7:]})
    config = CorpusConfig(sources=(str(tmp_path / "set"),), columns=("text=q", "code=a"))
    workdir = Workdir(tmp_path / "run")
    build_corpus(config, workdir)
    found = {split: [pair.text for pair in read_pairs(workdir, split)] for split in ("train", "dev", "test")}
    assert found == {
        "train": [row["q"] for row in rows[:5]],
        "test": [row["q"] for row in rows[5:7]],
        "dev": [row["q"] for row in rows[7:]],
    }
    first = next(iter(read_pairs(workdir, "test")))
    assert (first.source.repository, first.source.path, first.source.start_line) == ("set", "test/a.parquet", 1)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".arrow", ".jsonl.zst"])
def test_any_bytes_are_survived(tmp_path, suffix):
    dice = random.Random(0)
    path = write(tmp_path / f"a{suffix}", ROWS * 3)
    good = path.read_bytes()
    for _ in range(200):
        place = dice.randrange(len(good))
        path.write_bytes(good[:place] + dice.randbytes(3) + good[place + dice.randrange(5) :])
        try:
            list(read_rows(path, "a"))
        except UserError as error:
            assert "is damaged after line" in str(error)  # noqa: PT017
