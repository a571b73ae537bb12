import dataclasses
import itertools
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.clean import clean
from t2c_jax.corpus.mine import ShardMaker, ShardPart
from t2c_jax.corpus.pairs import SPLITS, Candidate, Pair, Source
from t2c_jax.corpus.rules.limits import broken_limit
from t2c_jax.corpus.shards import Shard
from t2c_jax.corpus.splits import DEV, TEST, TRAIN, assign, hash64, mined_groups

OPEN = CorpusConfig(min_text_chars=0, min_code_chars=0, min_alphanumeric_share=0.0, near_duplicates=0.0)


def candidate(text, code, path="a.py", split="", group="", repository="r", pair_id=None, line=1):
    source = Source(repository, "", path, line, line, "")
    pair_id = pair_id or f"{repository}/{path}:{line}:{text}:{code}"
    return Candidate(Pair(pair_id, text, code, "python", "function", source, split), group)


def cleaned(candidates, config, tmp_path):
    shards, half = [], (len(candidates) + 1) // 2
    for number, content in enumerate((candidates[:half], candidates[half:])):
        path = tmp_path / f"{number}.npz"
        ShardMaker(config)(ShardPart(str(path), tuple(content)))
        shards.append(Shard.open(path))
    result = clean(shards, config)
    pairs = list(result.pairs())
    assert Counter(pair.split for pair in pairs) == result.counts
    return pairs, result


@pytest.mark.parametrize(
    ("text", "code", "rule"),
    [
        ("  nine ch  ", "x = 1\n" * 9, "text shorter than min_text_chars"),
        ("a" * 2001, "x = 1\n" * 9, "text longer than max_text_chars"),
        ("ten chars.", "  " + "x" * 19 + "\n\n", "code shorter than min_code_chars"),
        ("ten chars.", "x = 1\n" * 701, "code longer than max_code_chars"),
        ("ten chars.", "x" * 401, "line longer than max_line_chars"),
        ("ten chars.", "x" * 10 + "({[+" * 10, "below min_alphanumeric_share"),
        ("ten chars.", "x" * 10 + "({[" * 10 + " " * 90, ""),
        ("ten chars.", "x" * 400, ""),
    ],
)
def test_limits(text, code, rule):
    assert broken_limit(candidate(text, code).pair, CorpusConfig()) == rule


def test_drops_are_counted_with_examples(tmp_path):
    good = "x = 1 # a good line"
    candidates = [candidate("too short", good, line=line) for line in range(5)]
    candidates += [candidate("long enough", good, line=9), candidate(" long enough\n", good + "\n", line=10)]
    _, result = cleaned(candidates, CorpusConfig(min_code_chars=1), tmp_path)
    assert result.drops.to_dict() == {
        "text shorter than min_text_chars": {"count": 5, "examples": ["r/a.py:0", "r/a.py:1", "r/a.py:2"]},
        "duplicate": {"count": 1, "examples": ["r/a.py:10"]},
    }


def test_duplicates_are_kept_in_test_before_dev_before_train(tmp_path):
    candidates = [
        candidate("a", "x", split="train", line=1),
        candidate("a", "x ", split="dev", line=2),
        candidate("a\n", "x", split="test", line=3),
        candidate("a", "x", split="test", line=4),
        candidate("b", "x", split="train", line=5),
        candidate("b", "x", split="dev", line=6),
        candidate("c", "x", split="train", line=7),
        candidate("c", "x", split="train", line=8),
        candidate("c", "X", split="train", line=9),
        candidate("c\tx", "", split="train", line=10),
    ]
    pairs, result = cleaned(candidates, OPEN, tmp_path)
    assert [pair.source.start_line for pair in pairs] == [3, 6, 7, 9, 10]
    assert result.drops.counts == {"duplicate of a pair in another split": 3, "duplicate": 2}


@pytest.mark.parametrize("order", [1, -1])
def test_code_alone_that_is_an_answer_of_dev_or_test_is_not_trained_on(order, tmp_path):
    candidates = [
        candidate("", "x ", split="train", line=1),
        candidate("", "x", split="train", line=2),  # a repeat of the one before
        candidate("a", "x", split="test", line=3),
        candidate("b", "x", split="train", line=4),  # it has a text of its own
        candidate("", "y", split="train", line=5),
        candidate("c", "\ny", split="dev", line=6),
        candidate("", "z", split="train", line=7),
        candidate("d", "z", split="train", line=8),
        candidate("", "v", split="train", line=9),
        candidate("", "v", split="test", line=10),  # held out, and no answer
        candidate("e", "w", split="test", line=11),
        candidate("", "W", split="train", line=12),
    ]
    pairs, result = cleaned(candidates[::order], OPEN, tmp_path)
    assert sorted(pair.source.start_line for pair in pairs) == [3, 4, 6, 7, 8, 10, 11, 12]
    assert result.drops.counts == {
        "code alone that is the code of a pair in dev or test": 2,
        "duplicate": 1,
        "duplicate of a pair in another split": 1,
    }
    everything, _ = cleaned(candidates, dataclasses.replace(OPEN, deduplicate=False), tmp_path)
    assert len(everything) == len(candidates)


CODE = "def f(row):\n    for i in row:\n        row[i] += 1\n    return row"
SAME = {
    "crlf": CODE.replace("\n", "\r\n"),
    "carriage returns": CODE.replace("\n", "\r"),
    "tabs": CODE.replace("    ", "\t"),
    "two spaces": CODE.replace("    ", "  "),
    "trailing space": CODE.replace("\n", " \t\n"),
    "space around": f"\n  \n{CODE}\n\n",
    "indented": "\n".join(f"    {line}" for line in CODE.split("\n")),
}


@pytest.mark.parametrize("name", SAME)
def test_duplicates_differ_in_line_ends_indentation_or_trailing_space(name, tmp_path):
    pairs = [
        candidate("Adds one to all.", CODE, split="train"),
        candidate("Adds one to all. \r\n", SAME[name], split="test"),
        candidate("Other words for it.", SAME[name], split="test"),
    ]
    pairs, result = cleaned(pairs, CorpusConfig(near_duplicates=0.0), tmp_path)
    assert [(pair.text, pair.code) for pair in pairs] == [
        ("Adds one to all. \r\n", SAME[name]),
        ("Other words for it.", SAME[name]),
    ]
    assert result.drops.counts == {"duplicate of a pair in another split": 1}


def test_other_nesting_is_no_duplicate(tmp_path):
    other = CODE.replace("    return", "        return")
    both = [candidate("Adds one to all.", code) for code in (CODE, other)]
    pairs, _ = cleaned(both, CorpusConfig(near_duplicates=0.0), tmp_path)
    assert [pair.code for pair in pairs] == [CODE, other]


def test_what_is_kept_is_kept_as_it_came(tmp_path):
    pairs, _ = cleaned([candidate("\n a \n", "\n x \r\n", split="train")], OPEN, tmp_path)
    assert (pairs[0].text, pairs[0].code) == ("\n a \n", "\n x \r\n")


def test_ids_become_unique(tmp_path):
    ids = ["a", "b", "a", "a", "a#2", "b", "c"]
    candidates = [candidate("t", str(line), pair_id=own, split="train", line=line) for line, own in enumerate(ids)]
    candidates.insert(0, candidate("t", "0", pair_id="a", split="train"))  # repeats the pair, not only the id
    pairs, _ = cleaned(candidates, OPEN, tmp_path)
    assert [pair.id for pair in pairs] == ["a", "b", "a#3", "a#4", "a#2", "b#2", "c"]


@pytest.mark.parametrize("seed", range(60))
def test_invariants_over_random_corpora(seed, tmp_path):
    draw = random.Random(seed)
    groups = draw.choice([1, 2, 3, 5, 20, 200])
    config = CorpusConfig(
        min_text_chars=1,
        min_code_chars=1,
        dev_share=draw.choice([0, 0.05, 0.3]),
        test_share=draw.choice([0, 0.05, 0.3]),
        near_duplicates=0.0,
    )
    candidates = []
    for line in range(draw.choice([0, 1, 3, 30, 300])):
        own_group = draw.choice(["", f"g{draw.randrange(groups)}"])
        candidates.append(
            candidate(
                text=draw.choice(["", " "]) + f"t{draw.randrange(40)}",
                code=f"c{draw.randrange(8)}" + draw.choice(["", "\n"]),
                path=f"m{draw.randrange(groups)}/{draw.choice('ab')}.py",
                repository=f"r{draw.randrange(draw.choice([1, 2]))}",
                split=draw.choice(["", "", "", "train", "dev", "test"]),
                group=own_group,
                pair_id=f"i{draw.randrange(200)}",
                line=line,
            )
        )
    pairs, result = cleaned(candidates, config, tmp_path)

    contents = [(pair.text.strip(), pair.code.strip()) for pair in pairs]
    assert len(contents) == len(set(contents))
    assert set(contents) == {(one.pair.text.strip(), one.pair.code.strip()) for one in candidates}
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert [pair.source.start_line for pair in pairs] == sorted(pair.source.start_line for pair in pairs)
    assert result.drops.total() + len(pairs) == len(candidates)

    by_line = {one.pair.source.start_line: one for one in candidates}
    splits_of = defaultdict(set)
    for pair in pairs:
        origin = by_line[pair.source.start_line]
        if origin.pair.split:
            assert pair.split == origin.pair.split
        else:
            splits_of[origin.group or (pair.source.repository, pair.source.path)].add(pair.split)
    assert all(len(found) == 1 for found in splits_of.values())

    again, _ = cleaned(candidates, config, tmp_path)
    assert again == pairs


NEAR = dataclasses.replace(OPEN, near_duplicates=0.7)


def variations(seed):
    """Mined pairs in families of near-duplicates, with splits, and a few pairs of files among them."""
    draw = random.Random(seed)
    found = []
    for family in range(12):
        words = [f"word{draw.randrange(300)}" for _ in range(draw.choice([25, 30, 60]))]
        for copy in range(draw.randrange(1, 6)):
            changed = list(words)
            for _ in range(draw.randrange(4)):
                changed[draw.randrange(len(words))] = f"word{draw.randrange(300)}"
            found.append(
                candidate(
                    text=draw.choice(["", "a text", "a longer text"]),
                    code=" ".join([*changed, f"v{len(found)}"]),  # no two are equal
                    path=f"{family}.py",
                    split=draw.choice(["train", "train", "dev", "test"]),
                    group=draw.choice(["", "", "", "given"]),
                    line=copy,
                )
            )
    return found


def similarity(one, other):
    ours, theirs = (
        {*zip(*(tokens[start:] for start in range(3)), strict=False)} for tokens in (one.split(), other.split())
    )
    return len(ours & theirs) / len(ours | theirs)


@pytest.mark.parametrize("seed", range(12))
def test_no_two_mined_pairs_are_near_duplicates(seed, tmp_path):
    candidates = variations(seed)
    given = {one.pair.id for one in candidates if one.group}
    pairs, result = cleaned(candidates, NEAR, tmp_path)
    exact, _ = cleaned(candidates, OPEN, tmp_path)
    assert sum(count for rule, count in result.drops.counts.items() if "near" in rule) == len(exact) - len(pairs) > 0
    kept = {pair.id for pair in pairs}
    for one, other in itertools.combinations(pairs, 2):
        assert similarity(one.code, other.code) < 0.7 or {one.id, other.id} <= given
    for pair in exact:
        if pair.id not in kept:
            assert pair.id not in given
            better = [one for one in pairs if one.id in given or SPLITS.index(one.split) >= SPLITS.index(pair.split)]
            assert any(similarity(pair.code, other.code) >= 0.7 for other in better)
    again, _ = cleaned(candidates[::-1], NEAR, tmp_path)  # the order of the sources makes no difference
    assert {(pair.text, pair.code) for pair in again} == {(pair.text, pair.code) for pair in pairs}


def test_the_best_copy_is_kept_and_named(tmp_path):
    code = " ".join(f"word{number}" for number in range(30))
    candidates = [
        candidate("", code, split="train", line=1),
        candidate("a text", code + " x", split="train", line=2),
        candidate("a longer text", code + " y", split="train", line=3),
    ]
    pairs, result = cleaned(candidates, NEAR, tmp_path)
    assert [pair.source.start_line for pair in pairs] == [3]
    assert result.drops.to_dict() == {
        "near-duplicate": {"count": 2, "examples": ["r/a.py:1 as r/a.py:3", "r/a.py:2 as r/a.py:3"]}
    }
    candidates.append(candidate("", code + " z", split="test", line=4))
    pairs, result = cleaned(candidates, NEAR, tmp_path)
    assert [pair.source.start_line for pair in pairs] == [4]
    assert result.drops.counts == {"near-duplicate of a pair in another split": 3}


def test_short_codes_are_near_duplicates_under_equal_texts_only(tmp_path):
    code = "if x is None:\n    raise ValueError('x is None')"
    texts = ["def first(x):", "def second(x, y):", "def first(x):"]
    candidates = [candidate(text, f"{code}{'#' * line}", split="train", line=line) for line, text in enumerate(texts)]
    pairs, _ = cleaned(candidates, NEAR, tmp_path)
    assert [pair.source.start_line for pair in pairs] in ([0, 1], [1, 2])


def test_pairs_of_files_are_dropped_as_near_duplicates_on_request_only(tmp_path):
    code = " ".join(f"word{number}" for number in range(30))
    candidates = [candidate("a", f"{code} {end}", split="train", group=end, line=line) for line, end in enumerate("xy")]
    candidates.append(candidate("a longer text", code, split="test", line=3))
    pairs, _ = cleaned(candidates, NEAR, tmp_path)
    assert [pair.source.start_line for pair in pairs] == [0, 1]
    pairs, _ = cleaned(candidates, dataclasses.replace(NEAR, rules_for="all"), tmp_path)
    assert [pair.source.start_line for pair in pairs] == [3]
    pairs, _ = cleaned(candidates, dataclasses.replace(NEAR, deduplicate=False), tmp_path)
    assert len(pairs) == 3


def test_forks_are_in_one_split(tmp_path):
    """Half of the fork is its own; repositories that share a few codes are no family."""
    draw = random.Random(0)
    candidates = []
    for number in range(40):
        for line in range(12):
            code = f"shared {line}" if line < 2 else f"own {number} {line}"
            candidates.append(candidate("a text", code, f"{line}.py", repository=f"r{number:02}", line=line))
            fork = code if line < 6 else f"changed {number} {line}"
            candidates.append(candidate("a text", fork, f"{line}.py", repository=f"z{number:02}", line=line))
    draw.shuffle(candidates)
    shares = dataclasses.replace(OPEN, dev_share=0.2, test_share=0.2)
    pairs, _ = cleaned(candidates, shares, tmp_path)
    splits_of = defaultdict(set)
    for pair in pairs:
        splits_of[pair.source.repository[1:]].add(pair.split)
    assert all(len(found) == 1 for found in splits_of.values())
    assert {split for found in splits_of.values() for split in found} == {"train", "dev", "test"}


def hashes(names):
    return np.array(sorted(hash64(name) for name in names), np.uint64)


def test_shares_of_many_groups():
    splits = assign(hashes(f"g{number}" for number in range(20_000)), np.ones(20_000, np.int64), 0.05, 0.1)
    # Three standard deviations of a binomial share are under 0.007 here.
    assert np.mean(splits == TEST) == pytest.approx(0.1, abs=0.007)
    assert np.mean(splits == DEV) == pytest.approx(0.05, abs=0.007)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 30])
@pytest.mark.parametrize("shares", [(0.05, 0.05), (0.9, 0.05), (0.05, 0.9), (0.0, 0.05), (0.05, 0.0), (0.0, 0.0)])
def test_few_groups_fill_the_splits(count, shares):
    dev_share, test_share = shares
    for trial in range(20):
        sizes = np.random.default_rng(trial).integers(1, 50, count)
        splits = assign(hashes(f"{trial} {number}" for number in range(count)), sizes, dev_share, test_share)
        assert len(splits) == count
        if count:
            assert splits[np.argmax(sizes)] == TRAIN
        if count >= 3:
            assert (splits == DEV).any() == (dev_share > 0)
            assert (splits == TEST).any() == (test_share > 0)


def test_groups_stay_when_others_come():
    few, many = (hashes(f"g{number}" for number in range(count)) for count in (300, 400))
    before = dict(zip(few.tolist(), assign(few, np.ones(300, np.int64), 0.1, 0.1).tolist(), strict=True))
    after = dict(zip(many.tolist(), assign(many, np.ones(400, np.int64), 0.1, 0.1).tolist(), strict=True))
    moved = [name for name in before if before[name] != after[name]]
    assert len(moved) <= 1  # at most the group that was the largest


def test_module_groups():
    paths = {
        "README.md": 3,
        "tests/t.py": 2,
        "src/pkg/a.py": 4,
        "src/pkg/b/c.py": 2,
        "src/pkg/b/d.py": 2,
        "src/e.py": 1,
    }
    groups = mined_groups({("r", path): count for path, count in paths.items()}, 0.05, 0.05)
    assert groups == {
        ("r", "README.md"): "r/README.md",
        ("r", "tests/t.py"): "r/tests/",
        ("r", "src/pkg/a.py"): "r/src/pkg/a.py",
        ("r", "src/pkg/b/c.py"): "r/src/pkg/b/",
        ("r", "src/pkg/b/d.py"): "r/src/pkg/b/",
        ("r", "src/e.py"): "r/src/e.py",
    }
    assert mined_groups({("r", "a.py"): 5}, 0.05, 0.05) == {("r", "a.py"): "r/a.py"}


def test_many_repositories_are_the_groups():
    paths = {(f"r{number}", f"{part}.py"): 1 for number in range(20) for part in "ab"}
    assert mined_groups(paths, 0.05, 0.05) == {key: key[0] for key in paths}
    assert mined_groups(paths, 0.04, 0.05) == {key: f"{key[0]}/{key[1]}" for key in paths}
