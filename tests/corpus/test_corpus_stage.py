import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus import build, dataset
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.clean import clean
from t2c_jax.corpus.dataset import count_pairs, read_pairs
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.corpus.parts import SHARDS
from t2c_jax.errors import UserError
from t2c_jax.languages.extractor import extractors
from t2c_jax.workdir import Workdir

NASTY = "\ttext with\r\nline ends, é 😀 \u2028 and a nul \0 "


def project(root, modules=12):
    for number in range(modules):
        package = root / f"package_{number}"
        package.mkdir(parents=True)
        functions = [
            f'def f_{number}_{name}(x):\n    """Adds {number} and {name} to x."""\n    return x + {number}  # {name}\n'
            for name in "abc"
        ]
        (package / "code.py").write_text("\n\n".join(functions))
    (root / "README.md").write_text("# Tool\n\nCall it like this:\n\n```python\nf_1_a(1) + f_2_b(2) + 3\n```\n")
    (root / "LICENSE").write_text("Permission is hereby granted, free of charge, to any person obtaining a copy\n")
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = project(tmp_path_factory.mktemp("source") / "project")
    lines = root.parent / "pairs.jsonl"
    pairs = [{"text": f"{NASTY}{number}", "code": f"{NASTY}{number}", "id": f"own {number}"} for number in range(50)]
    pairs[0]["split"], pairs[1]["split"] = "test", "dev"
    lines.write_text("\n".join(map(json.dumps, pairs)) + "\n{oops\n")
    config = CorpusConfig(sources=(str(root), str(lines)), max_malformed_share=0.1)
    workdir = Workdir(tmp_path_factory.mktemp("run"))
    return config, workdir, build_corpus(config, workdir, workers=2)


def everything(workdir):
    return [pair for split in ("train", "dev", "test") for pair in read_pairs(workdir, split)]


def names(path):
    return sorted(entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file())


def test_what_is_written_is_read_back(built):
    _, workdir, result = built
    pairs = {pair.id: pair for pair in everything(workdir)}
    assert len(pairs) == result.manifest["counts"]["pairs"] == 12 * 3 + 1 + 50
    own = pairs["own 7"]
    assert (own.text, own.code) == (f"{NASTY}7", f"{NASTY}7")
    mined = next(pair for pair in pairs.values() if "f_3_b" in pair.code)
    assert mined == Pair(
        id=mined.id,
        text="def f_3_b(x)\nAdds 3 and b to x.",
        code="def f_3_b(x):\n    return x + 3  # b",
        language="python",
        kind="function",
        source=Source("project", "", "package_3/code.py", 6, 8, "MIT"),
        split=mined.split,
        group=mined.group,
    )
    of_module = {pair.group for pair in pairs.values() if pair.source.path == mined.source.path}
    assert of_module == {mined.group}
    assert len({pair.group for pair in pairs.values()}) == 12 + 1 + 50  # modules, the README, and pairs with ids
    assert (pairs["own 0"].split, pairs["own 1"].split) == ("test", "dev")


def test_counts_agree(built):
    _, workdir, result = built
    for split in ("train", "dev", "test"):
        found = list(read_pairs(workdir, split))
        assert {pair.split for pair in found} == {split}
        assert len(found) == count_pairs(workdir, split) == result.manifest["counts"]["splits"][split] > 0


def test_modules_do_not_straddle_splits(built):
    _, workdir, _ = built
    splits = {}
    for pair in everything(workdir):
        if pair.kind != "file-of-pairs":
            splits.setdefault(pair.source.path, set()).add(pair.split)
    assert all(len(found) == 1 for found in splits.values())


def test_the_files_of_the_corpus(built):
    _, workdir, _ = built
    data = [f"t2c_pairs/1.0.0/{name}" for name in ("dataset_info.json", "features.json")]
    data += [f"t2c_pairs/1.0.0/t2c_pairs-{split}.tfrecord-00000" for split in ("train", "dev", "test")]
    cards = ["card.html", "card.json", "card.md"]
    assert names(workdir.corpus) == sorted([*data, *cards, "malformed.jsonl", "manifest.json"])
    for name in ("dataset_info.json", "features.json"):
        assert str(workdir.path) not in (workdir.corpus / "t2c_pairs" / "1.0.0" / name).read_text()
    assert names(workdir.path) == [f"corpus/{name}" for name in names(workdir.corpus)]


def test_card(built):
    config, workdir, _ = built
    card = json.loads((workdir.corpus / "card.json").read_text())
    assert card["kinds"] == {"file-of-pairs": 50, "function": 36, "markdown": 1}
    assert card["languages"] == {"unknown": 50, "python": 37}
    assert card["licences"] == {"unknown": 50, "MIT": 37}
    assert card["characters"]["code"]["p100"] == max(len(pair.code) for pair in everything(workdir))
    first, second = card["sources"]
    assert (first["name"], first["files"], first["pairs"], first["licence"]) == (config.sources[0], 13, 37, "MIT")
    assert (second["lines"], second["malformed"], second["pairs"]) == (51, 1, 50)
    text = (workdir.corpus / "card.md").read_text()
    assert text.startswith("# 87 pairs of text and code\n")
    assert f"`{config.sources[1]}:51`" in text


PLAIN_LOAD = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "t2c_jax":
            raise ImportError("this reader has no t2c_jax")
sys.meta_path.insert(0, Refuse())
import tensorflow_datasets as tfds
for data in (tfds.load("t2c_pairs", data_dir=sys.argv[1]),
             tfds.builder_from_directory(sys.argv[1] + "/t2c_pairs/1.0.0").as_dataset()):
    print({split: len(list(rows)) for split, rows in sorted(data.items())})
rows = tfds.as_numpy(data["dev"])
row = next(row for row in rows if row["id"] == b"own 1")
print(row["code"] == sys.argv[2].encode(), sorted(row), sorted(row["source"]), int(row["source"]["start_line"]))
"""


def test_plain_tfds_opens_it_after_a_move(built, tmp_path):
    _, workdir, result = built
    moved = tmp_path / "moved" / "corpus"
    shutil.copytree(workdir.corpus, moved)
    code = NASTY.replace("\0", "%00") + "1"
    script = PLAIN_LOAD.replace("sys.argv[2]", "sys.argv[2].replace('%00', chr(0))")
    command = [sys.executable, "-c", script, str(moved), code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sizes = dict(sorted(result.manifest["counts"]["splits"].items()))
    assert done.stdout.splitlines() == [
        str(sizes),
        str(sizes),
        "True ['code', 'group', 'id', 'kind', 'language', 'source', 'tests', 'text'] "
        "['commit', 'end_line', 'licence', 'path', 'repository', 'start_line'] 2",
    ]


def test_the_same_corpus_with_one_worker(built, tmp_path):
    config, workdir, _ = built
    other = Workdir(tmp_path)
    build_corpus(config, other, workers=1)
    for name in names(workdir.corpus):
        if name != "manifest.json":
            assert (other.corpus / name).read_bytes() == (workdir.corpus / name).read_bytes(), name


def test_a_finished_stage_is_skipped_until_something_changes(tmp_path, capsys):
    root = project(tmp_path / "project")
    config, workdir = CorpusConfig(sources=(str(root),)), Workdir(root / "runs")  # within the source, on purpose
    assert build_corpus(config, workdir).ran
    assert not build_corpus(config, workdir).ran
    assert build_corpus(dataclasses.replace(config, max_text_chars=1999), workdir).ran
    assert not build_corpus(dataclasses.replace(config, max_text_chars=1999), workdir).ran
    (root / "new.py").write_text('def new():\n    """Something quite new."""\n    return 1\n')
    result = build_corpus(dataclasses.replace(config, max_text_chars=1999), workdir)
    assert result.ran
    assert result.manifest["counts"]["pairs"] == 12 * 3 + 2
    (workdir.corpus / "manifest.json").unlink()
    assert build_corpus(dataclasses.replace(config, max_text_chars=1999), workdir).ran


def test_a_full_disk_is_one_line_and_leaves_only_shards(tmp_path, monkeypatch):
    root = project(tmp_path / "project")
    config, workdir = CorpusConfig(sources=(str(root),)), Workdir(tmp_path / "run")

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    for module, name in ((build, "make_shards"), (dataset, "write_record"), (build, "write_card")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(UserError, match="the disk is full; free some space"):
                build_corpus(config, workdir)
        assert [path.name for path in workdir.path.iterdir()] == [SHARDS]
    with pytest.raises(UserError, match="holds no finished corpus"):
        read_pairs(workdir, "train")
    assert build_corpus(config, workdir).ran


def test_an_interrupted_rebuild_keeps_the_old_corpus(tmp_path, monkeypatch):
    root = project(tmp_path / "project")
    config, workdir = CorpusConfig(sources=(str(root),)), Workdir(tmp_path / "run")
    build_corpus(config, workdir)
    before = everything(workdir)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "write_dataset", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_corpus(dataclasses.replace(config, text="summary"), workdir)
    assert everything(workdir) == before
    assert [name for name in os.listdir(workdir.path) if name.startswith(".")] == [SHARDS]
    build_corpus(dataclasses.replace(config, text="summary"), workdir)
    assert os.listdir(workdir.path) == ["corpus"]


KILL_AFTER = """
import os, signal, sys
from pathlib import Path
from t2c_jax.config import CorpusConfig
from t2c_jax.corpus import dataset, parts
from t2c_jax.corpus.build import build_corpus
from t2c_jax.workdir import Workdir

def killing(original):
    calls = 0
    def function(*arguments):
        nonlocal calls
        calls += 1
        if calls > {after}:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    return function

if "{place}" == "writing":
    dataset.write_record = killing(dataset.write_record)
else:
    parts._Queue.__next__ = killing(parts._Queue.__next__)
build_corpus(CorpusConfig(sources=(sys.argv[1],)), Workdir(Path(sys.argv[2])), workers=1)
"""


def shard_times(workdir):
    return {path.name: path.stat().st_mtime_ns for path in (workdir.path / SHARDS).rglob("*.npz")}


@pytest.mark.parametrize("place", ["mining", "writing"])
def test_a_killed_build_goes_on_without_its_finished_shards(place, tmp_path, monkeypatch, capsys):
    root = project(tmp_path / "project", modules=100)
    config, killed, whole = CorpusConfig(sources=(str(root),)), Workdir(tmp_path / "killed"), Workdir(tmp_path / "run")
    script = KILL_AFTER.format(after={"mining": 3, "writing": 10}[place], place=place)
    done = subprocess.run([sys.executable, "-c", script, str(root), str(killed.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    before = shard_times(killed)
    assert len(before) == {"mining": 3, "writing": 13}[place]
    remade = []
    monkeypatch.setattr(build, "clean", lambda *given: remade.append(shard_times(killed)) or clean(*given))
    build_corpus(config, killed)
    assert {name: remade[0][name] for name in before} == before
    assert len(remade[0]) == 13
    assert "files were mined by a run that did not finish" in capsys.readouterr().err
    build_corpus(config, whole)
    for name in names(whole.corpus):
        if name != "manifest.json":
            assert (killed.corpus / name).read_bytes() == (whole.corpus / name).read_bytes(), name
    assert not (killed.path / SHARDS).exists()


def test_shards_of_another_config_or_source_are_not_used(tmp_path):
    root = project(tmp_path / "project", modules=3)
    workdir, config = Workdir(tmp_path / "run"), CorpusConfig(sources=(str(root),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "clean", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for text in ("docstring", "summary"):
            with pytest.raises(KeyboardInterrupt):
                build_corpus(dataclasses.replace(config, text=text), workdir)
        (root / "package_0" / "code.py").write_text('def other():\n    """Another function."""\n    return 12345\n')
    build_corpus(config, workdir)
    texts = [pair.text for pair in everything(workdir)]
    assert "def other()\nAnother function." in texts
    assert len(texts) == 2 * 3 + 1 + 1


def test_a_damaged_shard_is_made_again(tmp_path):
    root = project(tmp_path / "project", modules=3)
    workdir, config = Workdir(tmp_path / "run"), CorpusConfig(sources=(str(root),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "clean", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_corpus(config, workdir)
    (shard,) = (workdir.path / SHARDS).rglob("*.npz")
    shard.write_bytes(shard.read_bytes()[:-100])
    assert build_corpus(config, workdir).manifest["counts"]["pairs"] == 3 * 3 + 1


def test_an_empty_corpus_is_refused_with_the_reason(tmp_path):
    (tmp_path / "a.py").write_text("def f(): return 1\n")
    with pytest.raises(UserError, match=r"1 files, 0 pairs found, none kept .*name sources with documented code"):
        build_corpus(CorpusConfig(sources=(str(tmp_path),)), Workdir(tmp_path / "run"))
    (tmp_path / "a.py").write_text('def f():\n    """Some documentation."""\n    return 1\n' * 3)
    config = CorpusConfig(sources=(str(tmp_path),), min_code_chars=1000)
    with pytest.raises(UserError, match=r"shorter than min_code_chars: 3\); relax the limits in config\.corpus"):
        build_corpus(config, Workdir(tmp_path / "run"))
    (tmp_path / "a.jsonl").write_text('{"text": "long enough text", "code": "long_enough = code()", "split": "test"}\n')
    with pytest.raises(UserError, match=r"no train split \(1 in test\)"):
        build_corpus(CorpusConfig(sources=(str(tmp_path / "a.jsonl"),)), Workdir(tmp_path / "run"))
    assert not (tmp_path / "run" / "corpus").exists()


def test_empty_held_out_splits_are_a_warning(tmp_path, capsys):
    (tmp_path / "a.py").write_text('def f():\n    """Some documentation."""\n    return 1\n')
    workdir = Workdir(tmp_path / "run")
    build_corpus(CorpusConfig(sources=(str(tmp_path),)), workdir)
    told = capsys.readouterr().err
    assert "warning: the corpus has no dev split" in told
    assert "warning: the corpus has no test split" in told
    assert list(read_pairs(workdir, "dev")) == []
    assert count_pairs(workdir, "dev") == 0


def test_malformed_lines_outlive_the_stage_that_fails_on_them(tmp_path):
    path, workdir = tmp_path / "pairs.jsonl", Workdir(tmp_path / "run")
    path.write_text('{\n{"text": "a good long text", "code": "a_good_long_code = 1234"}\n')
    config = CorpusConfig(sources=(str(path),), dev_share=0.0, test_share=0.0)
    with pytest.raises(UserError, match=rf"1 of 2 lines .*; the malformed lines are in '{workdir.name}/malformed"):
        build_corpus(config, workdir)
    (kept,) = (workdir.path / "malformed.jsonl").read_text().splitlines()
    assert (json.loads(kept)["line"], json.loads(kept)["text"]) == (1, "{")
    assert names(workdir.path) == ["malformed.jsonl"]
    with pytest.raises(UserError, match=r"the corpus of .* is empty: .*; the malformed lines are in "):
        build_corpus(dataclasses.replace(config, max_malformed_share=0.9, min_text_chars=99), workdir)
    build_corpus(dataclasses.replace(config, max_malformed_share=0.9), workdir)
    assert [name for name in names(workdir.path) if name.endswith("malformed.jsonl")] == ["corpus/malformed.jsonl"]
    with pytest.raises(UserError) as found:
        build_corpus(dataclasses.replace(config, sources=(str(tmp_path / "none"),)), workdir)
    assert "the malformed lines" not in str(found.value)


def test_malformed_lines_of_a_url_are_on_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("T2C_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "pairs.jsonl").write_text("{\n")
    workdir = Workdir("memory://malformed/run")
    config = CorpusConfig(sources=(str(tmp_path / "pairs.jsonl"),))
    with (
        workdir.locked(),
        pytest.raises(UserError, match=r"lines are in 'memory://malformed/run/malformed\.jsonl'"),
    ):
        build_corpus(config, workdir)
    assert json.loads(workdir.text("malformed.jsonl"))["line"] == 1


def test_malformed_lines_are_reported_with_their_place(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text("[]\n" + '{"text": "long enough text", "code": "long_enough = code()"}\n')
    build_corpus(CorpusConfig(sources=(str(path),), max_malformed_share=0.5), Workdir(tmp_path / "run"))
    assert f"1 malformed lines (such as {path}:1)" in capsys.readouterr().err
    with pytest.raises(UserError, match=rf"the first at {path}:1: not a JSON object"):
        build_corpus(CorpusConfig(sources=(str(path),)), Workdir(tmp_path / "other"))
    assert not (tmp_path / "other" / "corpus").exists()


def test_damage_is_found(built, tmp_path):
    _, workdir, _ = built
    copy = Workdir(tmp_path)
    shutil.copytree(workdir.corpus, copy.corpus)
    shard = copy.corpus / "t2c_pairs" / "1.0.0" / "t2c_pairs-train.tfrecord-00000"
    data = shard.read_bytes()
    for damaged in (data[:-10], data[:100] + b"?" + data[101:], b""):
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match=r"the corpus in '.*' (is damaged|has \d+ of \d+ pairs in train)"):
            list(read_pairs(copy, "train"))
    shard.unlink()
    with pytest.raises(UserError, match=r"has 0 of \d+ pairs in train; delete that directory"):
        list(read_pairs(copy, "train"))


def test_reader_names_mistakes(built, tmp_path):
    _, workdir, _ = built
    with pytest.raises(UserError, match="unknown split 'tran'; did you mean 'train'"):
        read_pairs(workdir, "tran")
    with pytest.raises(UserError, match="holds no finished corpus"):
        count_pairs(Workdir(tmp_path), "train")


def test_configuration_mistakes(tmp_path):
    with pytest.raises(UserError, match="'functions' is unknown; did you mean 'function'"):
        build_corpus(CorpusConfig(kinds=("functions",)), Workdir(tmp_path))
    with pytest.raises(UserError, match="names 'a' twice"):
        build_corpus(CorpusConfig(sources=("a", "b", "a")), Workdir(tmp_path))


def test_a_tfds_dataset_is_a_source(built, tmp_path):
    _, workdir, _ = built
    directory = workdir.corpus / "t2c_pairs" / "1.0.0"
    config, copy = CorpusConfig(sources=(f"tfds:{directory}",)), Workdir(tmp_path)
    build_corpus(config, copy)
    want = {(pair.id, pair.text, pair.code, pair.language, pair.split) for pair in everything(workdir)}
    assert {(pair.id, pair.text, pair.code, pair.language, pair.split) for pair in everything(copy)} == want
    assert not build_corpus(config, copy).ran


def array_records(directory, count):
    """A TFDS dataset as ArrayRecord, with ``count`` pairs in train and two in validation."""
    _, tfds = dataset.import_tensorflow()
    identity = tfds.core.DatasetIdentity(
        name="pairs", version=tfds.core.Version("1.0.0"), data_dir=str(directory), module_name="pairs"
    )
    text = tfds.features.Text
    info = tfds.core.DatasetInfo(
        builder=identity, features=tfds.features.FeaturesDict({"text": text(), "code": text(), "id": text()})
    )
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=2000, file_format="array_record")
    writer.initialize_splits(["train", "validation"])
    for split, numbers in (("train", range(count)), ("validation", range(count, count + 2))):
        writer.add_examples(
            {
                split: [
                    {"text": f"Give number {n}.", "code": f"def give_{n}():\n    return {n}", "id": f"{n}"}
                    for n in numbers
                ]
            }
        )
    writer.close_all()


def test_a_tfds_dataset_of_array_records_is_a_source(tmp_path):
    (tmp_path / "data").mkdir()
    array_records(tmp_path / "data", 2100)  # more than a shard and a batch
    workdir = Workdir(tmp_path / "run")
    result = build_corpus(CorpusConfig(sources=(f"tfds:{tmp_path / 'data'}",)), workdir)
    assert result.manifest["counts"]["splits"] == {"train": 2100, "dev": 2}
    assert [pair.id for pair in read_pairs(workdir, "train")] == [str(number) for number in range(2100)]
    assert [pair.code for pair in read_pairs(workdir, "dev")][-1] == "def give_2101():\n    return 2101"


def test_array_records_that_are_cut_short_are_found(tmp_path):
    (tmp_path / "data").mkdir()
    array_records(tmp_path / "data", 20)
    (shard,) = (tmp_path / "data").glob("*train*")
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"split 'train', is damaged"):
        build_corpus(CorpusConfig(sources=(f"tfds:{tmp_path / 'data'}",)), Workdir(tmp_path / "run"))


def test_splits_by_file_name_are_kept_and_reported(tmp_path, capsys):
    sources = []
    for split, numbers in (("train", range(40)), ("valid", range(40, 50)), ("test", range(50, 60))):
        path = tmp_path / f"python_{split}_0.jsonl"
        lines = [
            {"text": f"Give part {n} of a row.", "code": f"def part_{n}(row):\n    return row[{n}]"} for n in numbers
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        sources.append(str(path))
    workdir = Workdir(tmp_path / "run")
    result = build_corpus(CorpusConfig(sources=tuple(sources)), workdir)
    assert result.manifest["counts"]["splits"] == {"train": 40, "dev": 10, "test": 10}
    assert {pair.source.path for pair in read_pairs(workdir, "dev")} == {"python_valid_0.jsonl"}
    said = "".join(capsys.readouterr().err.split())
    for source, split in zip(sources, ("train", "dev", "test"), strict=True):
        assert f"{source}is{split}" in said
    card = json.loads((workdir.corpus / "card.json").read_text())
    assert [source["split"] for source in card["sources"]] == ["train", "dev", "test"]


def test_an_extractor_can_be_turned_off_and_versions_are_in_the_stage_key(tmp_path, monkeypatch):
    root = project(tmp_path / "root")
    (root / "guide.md").write_text("Call the function so:\n\n```python\nresult = f_1_a(1)\n```\n")
    workdir = Workdir(tmp_path / "run")
    config = CorpusConfig(sources=(str(root),), extractors=("python",))
    assert "markdown" not in build_corpus(config, workdir).manifest["counts"]["kinds"]
    assert not build_corpus(config, workdir).ran
    monkeypatch.setattr(extractors.get("markdown", ""), "version", "another")
    assert not build_corpus(config, workdir).ran
    monkeypatch.setattr(extractors.get("python", ""), "version", "another")
    assert build_corpus(config, workdir).ran
    monkeypatch.setattr("t2c_jax.corpus.build.REVISION", -1)  # of the rules
    assert build_corpus(config, workdir).ran
    assert build_corpus(dataclasses.replace(config, extractors=("python", "markdown")), workdir).manifest["counts"][
        "kinds"
    ]["markdown"]


def test_tfds_mistakes(tmp_path):
    with pytest.raises(UserError, match="source 'tfds:no_such_dataset_here' cannot be opened"):
        build_corpus(CorpusConfig(sources=("tfds:no_such_dataset_here",)), Workdir(tmp_path / "run"))
    with pytest.raises(UserError, match=r"source 'tfds:.*' cannot be opened"):
        build_corpus(CorpusConfig(sources=(f"tfds:{tmp_path}",)), Workdir(tmp_path / "run"))


def test_mining_imports_neither_jax_nor_tensorflow():
    """Workers stay light, and a skipped stage fast."""
    script = "import sys, t2c_jax.corpus.build, t2c_jax.corpus.dataset; print({'jax', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
