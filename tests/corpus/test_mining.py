import errno
import functools
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from t2c_jax import workers
from t2c_jax.config import CorpusConfig
from t2c_jax.corpus import parts
from t2c_jax.corpus.mine import ShardMaker
from t2c_jax.corpus.parts import make_shards, plans, run_here
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import FileTree, resolve
from t2c_jax.corpus.tally import Tally
from t2c_jax.errors import UserError
from t2c_jax.languages.extractor import Extract, Extraction, extractors
from t2c_jax.workers import Failure, isolated_map

GOOD = 'def f(x):\n    """Adds one to it."""\n    return x + 1\n'


OPEN = {"min_text_chars": 0, "min_code_chars": 0, "text": "docstring"}


def mine_tree(tree, config, directory, workers=1):
    report = SourceReport(tree.name)
    plan = plans(directory, config, [tree], [report], "")
    run = functools.partial(run_here, workers=workers)
    shards = make_shards(plan, ShardMaker(config), io.StringIO(), lambda count: None, run)
    return [pair for shard in shards for pair in shard.pairs()], report


def mined(root, workers=1, **config):
    config = CorpusConfig(**OPEN, **config)
    tree = resolve(str(root), config, Path("nowhere"))
    with tempfile.TemporaryDirectory() as directory:
        return mine_tree(tree, config, Path(directory), workers)


# name: (bytes, pairs, reasons)
BAD_FILES = {
    "bad_utf8.py": (b'"""\xff\xfe"""\n' + GOOD.encode(), 0, ["undecodable"]),
    "unknown_cookie.py": (b"# coding: klingon\n" + GOOD.encode(), 0, ["undecodable"]),
    "syntax.py": (b"def f(:\n", 0, ["syntax error"]),
    "python2.py": (b'def f():\n    """Doc."""\n    print 1\n', 0, ["syntax error"]),
    "null.py": (GOOD.encode() + b"\0", 0, ["null bytes"]),
    "deep.py": (b"x = " + b"-" * 100_000 + b"1", 0, ["nested too deeply"]),
    "empty.py": (b"", 0, []),
    "large.py": (b"#" * 300_000, 0, ["larger than max_file_bytes"]),
    "binary.md": (bytes(range(256)), 0, ["undecodable"]),
    "stub.py": (b'def f():\n    """Doc."""\n', 0, ["nothing but a docstring"]),
    "warns.py": (GOOD.replace("x + 1", 'x is "\\d"').encode(), 1, []),
    "bom.py": (b"\xef\xbb\xbf" + GOOD.encode(), 1, []),
    "good.py": (GOOD.encode(), 1, []),
}


def test_bad_files_are_counted_and_survived(tmp_path):
    for name, (data, _, _) in BAD_FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / os.fsdecode(b"na\xffme.py")).write_bytes(GOOD.encode())
    (tmp_path / "loop").symlink_to(tmp_path)
    pairs, report = mined(tmp_path, max_file_bytes=200_000, skip_files=())  # what extractors say of them
    expected = {}
    for name, (_, _, reasons) in BAD_FILES.items():
        for reason in reasons:
            expected.setdefault(reason, []).append(name)
    assert report.skipped.counts == {reason: len(names) for reason, names in expected.items()}
    for reason, names in expected.items():
        told = [example.partition(":")[0] for example in report.skipped.examples[reason]]
        assert told == sorted(names)[:3]
    paths = [pair.source.path for pair in pairs]
    assert paths == sorted([name for name, (_, pairs, _) in BAD_FILES.items() if pairs] + ["na?me.py"])
    assert report.pairs == len(paths)


def test_files_that_change_between_listing_and_reading(tmp_path, tmp_path_factory):
    for name in ("gone.py", "grown.py", "pipe.py", "link.py", "good.py"):
        (tmp_path / name).write_text(GOOD)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "a.py").write_text(GOOD)
    config = CorpusConfig(**OPEN, max_file_bytes=1000)
    tree = resolve(str(tmp_path), config, Path("nowhere"))
    (tmp_path / "gone.py").unlink()
    (tmp_path / "grown.py").write_text("#" * 1001)
    (tmp_path / "pipe.py").unlink()
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "link.py").unlink()
    (tmp_path / "link.py").symlink_to("/dev/zero")
    outside = tmp_path_factory.mktemp("outside")
    (tmp_path / "moved").rename(outside / "moved")
    (tmp_path / "moved").symlink_to(outside / "moved")
    pairs, report = mine_tree(tree, config, outside / "shards", 2)
    assert len(pairs) == 1
    assert report.skipped.counts == {
        "unreadable file (ENOENT)": 1,
        "unreadable file (ELOOP)": 1,
        "unreadable file (ENOTDIR)": 1,
        "larger than max_file_bytes": 1,
        "not a regular file": 1,
    }


def test_the_same_pairs_whatever_the_number_of_workers(tmp_path):
    for number in range(40):
        path = tmp_path / f"d{number % 7}" / f"f{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(GOOD.replace("f(", f"f{number}(") * (1 + number % 5 * 40))
    one, report_of_one = mined(tmp_path, workers=1)
    three, report_of_three = mined(tmp_path, workers=3)
    assert one == three
    assert report_of_one == report_of_three
    assert len({pair.id for pair in one}) == len(one) > 40


def test_a_file_may_state_a_licence_of_its_own_and_rules_skip_others(tmp_path):
    (tmp_path / "LICENSE").write_text("MIT License\n")
    tag = "SPDX-License-" + "Identifier"
    (tmp_path / "a.py").write_text(GOOD)
    (tmp_path / "b.py").write_text(f"# {tag}: Apache-2.0 OR BSD-3-Clause\n{GOOD}")
    (tmp_path / "c.py").write_text(f"{GOOD}\n" + "#\n" * 2000 + f"# {tag}: BSD-3-Clause\n")  # not at its top
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "d.py").write_text(GOOD)
    pairs, report = mined(tmp_path)
    licence = pairs[0].source.licence
    assert [(pair.source.path, pair.source.licence) for pair in pairs] == [
        ("a.py", licence),
        ("b.py", "Apache-2.0 OR BSD-3-Clause"),
        ("c.py", licence),
    ]
    assert report.skipped.to_dict() == {"vendored file": {"count": 1, "examples": ["vendor/d.py"]}}
    allowed, _ = mined(tmp_path, licences=("BSD-3-Clause",))
    assert [pair.source.path for pair in allowed] == ["b.py"]


def test_ids_do_not_depend_on_where_the_source_lies(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place / "project").mkdir(parents=True)
        (tmp_path / place / "project" / "f.py").write_text(GOOD)
    first, second = (mined(tmp_path / place / "project")[0] for place in ("a", "b"))
    assert first == second


def misbehave(item):
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "hang":
        time.sleep(600)
    if item == "raise":
        raise ValueError("no")
    return item.upper()


def test_a_dead_worker_loses_only_its_item():
    items = ["a", "die", "b", "exit", "raise", "hang", *"cdefgh", "die"]
    found = list(isolated_map(misbehave, items, 2, seconds=2))
    assert found == [
        "A",
        Failure("worker died (SIGKILL)", died=True),
        "B",
        Failure("worker died (exit 3)", died=True),
        Failure("ValueError in a worker"),
        Failure("took longer than 2 s", died=True, timed_out=True),
        *"CDEFGH",
        Failure("worker died (SIGKILL)", died=True),
    ]


def allocate(size):
    return len(bytearray(size))


def test_memory_of_a_worker_is_limited():
    found = list(isolated_map(allocate, [10, 1 << 30, 20], 1, 60.0, memory_bytes=1 << 29))
    assert found == [10, Failure("MemoryError in a worker"), 20]


def test_items_are_read_when_they_are_needed(monkeypatch):
    monkeypatch.setattr(workers, "_AHEAD", 2)
    given = 0

    def items():
        nonlocal given
        for number in range(100):
            given += 1
            yield str(number)

    results = isolated_map(misbehave, items(), 2, seconds=60)
    assert next(results) == "0"
    assert given < 20
    results.close()


def test_workers_that_always_die_end_the_map(monkeypatch):
    monkeypatch.setattr(workers, "_MAX_DEATHS_IN_A_ROW", 4)
    with pytest.raises(UserError, match="4 worker processes in a row died"):
        list(isolated_map(misbehave, ["die"] * 10, 1, seconds=60))


def test_time_outs_do_not_count_as_deaths(monkeypatch):
    monkeypatch.setattr(workers, "_MAX_DEATHS_IN_A_ROW", 2)
    found = list(isolated_map(misbehave, [*["hang"] * 3, "a"], 1, seconds=0.5))
    assert found == [*[Failure("took longer than 0.5 s", died=True, timed_out=True)] * 3, "A"]


def part_by_part(item):
    for part, command in enumerate(item):
        workers.begin(part)
        misbehave(command)
    return len(item)


def test_a_failure_names_the_part_of_the_item(monkeypatch):
    monkeypatch.setattr(workers, "_MAX_DEATHS_IN_A_ROW", 3)
    items = ["aaa", ["a", "a", "die"], ["a", "hang"], ["a", "a", "raise"], *[["a", "die"]] * 4, ["die"], "aa"]
    found = list(isolated_map(part_by_part, items, 1, seconds=1))
    assert found == [
        3,
        Failure("worker died (SIGKILL)", died=True, part=2),
        Failure("took longer than 1 s", died=True, timed_out=True, part=1),
        Failure("ValueError in a worker"),
        *[Failure("worker died (SIGKILL)", died=True, part=1)] * 4,
        Failure("worker died (SIGKILL)", died=True, part=0),
        2,
    ]


def test_each_part_has_the_whole_time_limit():
    assert list(isolated_map(sleep_in_parts, [6], 1, seconds=1)) == [6]


def sleep_in_parts(count):
    for part in range(count):
        workers.begin(part)
        time.sleep(0.3)
    return count


class Crashing:
    """An extractor that ends its process at some files."""

    suffixes = (".crash",)
    version = "1"

    def extract(self, data, path, config):
        misbehave(data.decode())
        return Extraction([Extract("a text long enough", f"some code of {path}", "", "function", 1, 1)])


class CrashingMaker(ShardMaker):
    def __call__(self, part):
        extractors._entries["crashing"] = Crashing()  # in the worker
        return super().__call__(part)


def test_a_file_that_ends_its_worker_is_counted_and_the_others_are_mined(tmp_path, monkeypatch):
    commands = {"a": "ok", "b": "die", "c": "ok", "d": "raise", "e": "hang", "f": "die", "g": "ok"}
    for name, command in commands.items():
        (tmp_path / f"{name}.crash").write_text(command)
    files = tuple(f"{name}.crash" for name in commands)
    tree = FileTree("name", tmp_path, "name", "", "", "", files, Tally(), "digest")
    config, report = CorpusConfig(extractors=("crashing",), min_code_chars=0), SourceReport(tree.name)
    monkeypatch.setattr(parts, "SECONDS_PER_FILE", 2)
    plan = plans(tmp_path / "shards", config, [tree], [report], "")
    advanced = []
    run = functools.partial(run_here, workers=2)
    shards = make_shards(plan, CrashingMaker(config), io.StringIO(), advanced.append, run)
    assert [pair.source.path for shard in shards for pair in shard.pairs()] == ["a.crash", "c.crash", "g.crash"]
    assert {reason: report.skipped.examples[reason] for reason in report.skipped.counts} == {
        "worker died (SIGKILL)": ["b.crash", "f.crash"],
        "ValueError in the extractor": ["d.crash"],
        "took longer than 2 s": ["e.crash"],
    }
    assert (report.files, report.pairs, advanced) == (3, 3, [7])


class NoDisk(ShardMaker):
    def __call__(self, part):
        return OSError(errno.ENOSPC, "full")


class NoMemory(ShardMaker):
    def __call__(self, part):
        raise MemoryError


def test_a_shard_that_cannot_be_made_ends_the_stage(tmp_path):
    (tmp_path / "a.py").write_text(GOOD)
    config = CorpusConfig()
    tree = resolve(str(tmp_path), config, Path("nowhere"))
    for maker, error, message in ((NoDisk, OSError, "full"), (NoMemory, UserError, "MemoryError in a worker, 3 times")):
        plan = plans(tmp_path / "shards", config, [tree], [SourceReport(tree.name)], "")
        with pytest.raises(error, match=message):
            make_shards(plan, maker(config), io.StringIO(), lambda count: None, run_here)


UNGUARDED = """
import sys
from t2c_jax.workers import isolated_map
print(list(isolated_map(str.upper, ["a", "b"], 2, 60)))
"""


def test_a_script_on_standard_input_without_a_guard_works():
    done = subprocess.run([sys.executable, "-"], input=UNGUARDED, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['A', 'B']\n", "")


LEFT_ALONE = """
import os, signal, time
from t2c_jax.workers import isolated_map
found = isolated_map(time.sleep, [0, 600], 2, 3)
next(found)
print(*open(f"/proc/self/task/{os.getpid()}/children").read().split(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers through Linux's /proc")
def test_workers_end_with_their_parent_or_at_their_time():
    done = subprocess.run([sys.executable, "-c", LEFT_ALONE], capture_output=True, text=True, check=False)
    children = [Path("/proc", child, "cmdline") for child in done.stdout.split()]
    assert len(children) == 2, done.stderr
    for _ in range(600):
        if not any(child.exists() and child.read_bytes() for child in children):
            return
        time.sleep(0.1)
    pytest.fail("a worker outlives its parent")
