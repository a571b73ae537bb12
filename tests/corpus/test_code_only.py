"""Code without a text: what is kept, which limits apply, and which stages ignore it."""

import json
import shutil

import pytest

from t2c_jax import config as configs
from t2c_jax.config import CorpusConfig, DataConfig, Experiment, TokenizerConfig, TrainConfig
from t2c_jax.config.check import check
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.corpus.rules.limits import broken_limit
from t2c_jax.data.prepare import build_tokens
from t2c_jax.data.tokens import Tokens
from t2c_jax.errors import UserError
from t2c_jax.evaluate import prompt_pairs as prompts
from t2c_jax.evaluate.during_training import dev_decoder
from t2c_jax.languages.python.extractor import extract_python
from t2c_jax.tokenizers.stage import build_tokenizer
from t2c_jax.tokenizers.training import sample_evenly
from t2c_jax.workdir import Workdir

EVERY = ("function", "method", "class", "module")
SOURCE = '''\
"""A module."""
import os


def documented(x):
    """Some documentation."""
    return x


@os.register
def bare(x):  # why
    def inner():
        """Kept where it is."""
        return x
    return inner
    # to the end


class Bare:
    a = 1

    def method(self):
        return self.a


class Documented:
    """It says what it is."""

    async def method(self):
        return 1
'''


def extract(source, **config):
    data = source if isinstance(source, bytes) else source.encode()
    return extract_python(data, CorpusConfig(**{"text": "summary", **config}))


def pair(text, code, kind="function", split="train", number=1):
    return Pair(f"{kind} {number}", text, code, "python", kind, Source("r", "", "a.py", number, number, ""), split)


def test_what_nothing_documents_is_kept_as_it_is_written():
    found = {(item.kind, item.start_line): item for item in extract(SOURCE, code_only=EVERY).extracts}
    assert {place: item.text for place, item in found.items()} == {
        ("module", 1): "",
        ("function", 5): "Some documentation.",
        ("function", 10): "",
        ("function", 12): "Kept where it is.",
        ("class", 19): "",
        ("method", 22): "",
        ("class", 26): "It says what it is.",
        ("method", 29): "",
    }
    lines = SOURCE.splitlines()
    bare = found["function", 10]
    assert bare.code.splitlines() == lines[9:16]
    assert bare.end_line == 16
    assert found["class", 19].code.splitlines() == lines[18:23]
    assert found["method", 22].code == "def method(self):\n    return self.a"
    assert found["method", 29].code == "async def method(self):\n    return 1"


@pytest.mark.parametrize(
    ("kinds", "code_only", "expected"),
    [
        (("function",), (), {("function", True)}),
        ((), ("method", "class"), {("method", False), ("class", False)}),
        (("class",), ("function",), {("class", True), ("function", False)}),
        ((), ("module",), {("module", False)}),
    ],
)
def test_kinds_selects_documented_code_and_code_only_undocumented_code(kinds, code_only, expected):
    found = extract(SOURCE, kinds=kinds, code_only=code_only).extracts
    assert {(item.kind, bool(item.text)) for item in found} == expected


@pytest.mark.parametrize(
    ("data", "code", "lines"),
    [
        (b'"""Doc."""\r\n\r\nx = 1  # y\r\n', '"""Doc."""\r\n\r\nx = 1  # y\r\n', 3),
        (b"\n\n\tx = 1".replace(b"\t", b"\x0c"), "\n\n\x0cx = 1", 3),
        (b"\xef\xbb\xbfx = '\xc3\xa4'\n", "x = 'ä'\n", 1),
        (b"# coding: latin-1\nx = '\xe4'\n", "# coding: latin-1\nx = 'ä'\n", 2),
        (b"x = '''\r\r\n'''\r", "x = '''\r\r\n'''\r", 3),
        (b"", "", 1),
    ],
)
def test_a_module_is_the_whole_file(data, code, lines):
    (module,) = extract(data, kinds=(), code_only=("module",)).extracts
    assert (module.text, module.code, module.language, module.kind) == ("", code, "python", "module")
    assert (module.start_line, module.end_line) == (1, lines)


def test_a_file_that_is_no_python_is_no_module():
    for data, reason in ((b"x = (", "syntax error"), (b"x\0", "null bytes"), (b"\xff", "undecodable")):
        found = extract(data, code_only=EVERY)
        assert found.extracts == []
        assert [skipped[0] for skipped in found.skipped] == [reason]


@pytest.mark.parametrize(
    ("text", "code", "rule"),
    [
        ("", "x = 1\n" * 1000, ""),
        ("", "x = 1", "code shorter than min_code_chars"),
        ("", "x" * 401, "line longer than max_line_chars"),
        ("", "x" * 10 + "({[+" * 10, "below min_alphanumeric_share"),
        (" ", "x = 1\n" * 10, "text shorter than min_text_chars"),
        ("ten chars.", "x = 1\n" * 1000, "code longer than max_code_chars"),
    ],
)
def test_code_alone_may_be_long_but_not_anything(text, code, rule):
    assert broken_limit(pair(text, code), CorpusConfig(code_only=("module",))) == rule


def test_without_code_only_an_empty_text_is_too_short():
    long = "x = 1\n" * 1000
    assert broken_limit(pair("", long), CorpusConfig()) == "text shorter than min_text_chars"
    assert broken_limit(pair("", long), CorpusConfig(min_text_chars=0)) == "code longer than max_code_chars"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    for number in range(10):
        source = (
            SOURCE.replace("bare", f"bare_{number}").replace("Bare", f"Bare{number}").replace("self.a", f"{number}0")
        )
        source = source.replace("return x\n\n", f"return x + {number}\n\n").replace("a = 1", f"a = {number}, 'ünïcode'")
        (root / f"part_{number}.py").write_text(source)
    lines = [{"code": "lonely = code(1, 2, 3)"}, {"text": None, "code": "lonely = code(4, 5, 6)"}]
    lines += [{"text": "", "code": "lonely = code(7, 8, 9)", "split": "dev", "id": "own"}]
    lines += [
        {"text": 0, "code": "lonely = code(0, 0, 0)"},
        {"text": "a text that says it", "code": "accompanied(1, 2, 3, 4)"},
    ]
    (root / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = CorpusConfig(
        sources=(str(root), str(root / "lines.jsonl")),
        code_only=EVERY,
        max_malformed_share=0.5,
        dev_share=0.2,
        test_share=0.2,
    )
    workdir = Workdir(root / "run")
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("t2c_jax.corpus.build.say", said.append)
        result = build_corpus(config, workdir, workers=2)
    return config, workdir, result, said


def everything(workdir):
    return [pair for split in ("train", "dev", "test") for pair in read_pairs(workdir, split)]


def test_the_stage_reports_the_share_of_code_alone(built):
    config, workdir, result, said = built
    pairs = everything(workdir)
    alone = [found for found in pairs if not found.has_text]
    counts = result.manifest["counts"]
    assert counts["code_only"] == len(alone) > 0
    assert counts["kinds"]["module"] == 10
    assert counts["malformed"] == 1
    assert f"{len(alone)} of them are code without a text" in said[0]
    card = json.loads((workdir.corpus / "card.json").read_text())
    assert card["code_only"] == len(alone)
    assert card["characters"]["text"]["p0"] == min(len(found.text) for found in pairs if found.has_text)
    title = f"# {len(pairs) - len(alone)} pairs of text and code, {len(alone)} of code alone\n"
    assert (workdir.corpus / "card.md").read_text().startswith(title)
    assert not build_corpus(config, workdir).ran


def test_lines_may_lack_a_text(built):
    _, workdir, _, _ = built
    lines = {found.code: found for found in everything(workdir) if found.kind == "file-of-pairs"}
    assert {code: found.text for code, found in lines.items()} == {
        "lonely = code(1, 2, 3)": "",
        "lonely = code(4, 5, 6)": "",
        "lonely = code(7, 8, 9)": "",
        "accompanied(1, 2, 3, 4)": "a text that says it",
    }
    own = lines["lonely = code(7, 8, 9)"]
    assert (own.id, own.split) == ("own", "dev")


def test_a_module_is_in_the_split_of_its_definitions(built):
    _, workdir, _, _ = built
    splits = {}
    for found in everything(workdir):
        if found.kind != "file-of-pairs":
            splits.setdefault(found.source.path, set()).add(found.split)
    assert len(splits) == 10
    assert all(len(of_file) == 1 for of_file in splits.values())
    assert {split for of_file in splits.values() for split in of_file} == {"train", "dev", "test"}


def test_code_without_text_leaves_all_pairs_in_their_splits(tmp_path):
    """Weighed with its code, lib/ would be most of the repository, and taken apart."""
    for number in range(40):
        directory = tmp_path / "project" / ("lib" if number < 10 else f"part_{number}")
        directory.mkdir(parents=True, exist_ok=True)
        source = f'def f_{number}(x):\n    """Adds {number} to x."""\n    return x + {number}\n'
        bare = "".join(f"def g_{number}_{i}(x):\n    return x + {i}\n" for i in range(20 if number < 10 else 1))
        (directory / f"code_{number}.py").write_text(source + bare)

    def splits(name, **settings):
        config = CorpusConfig(sources=(str(tmp_path / "project"),), dev_share=0.3, test_share=0.3, **settings)
        workdir = Workdir(tmp_path / name)
        build_corpus(config, workdir, workers=1)
        return {found.code: found.split for found in everything(workdir)}

    documented, everywhere = splits("documented"), splits("everything", code_only=("function", "module"))
    assert set(documented.values()) == {"train", "dev", "test"}
    assert documented.items() <= everywhere.items()
    assert len(everywhere) == 40 + 40 + 10 * 20 + 30
    alone = splits("alone", kinds=(), code_only=("function",))
    assert len({split for code, split in alone.items() if code.startswith(tuple(f"def g_{n}_" for n in range(10)))}) > 1


def test_without_code_only_lines_without_a_text_are_malformed_or_too_short(built, tmp_path):
    config, _, _, _ = built
    path = tmp_path / "lines.jsonl"
    shutil.copy(config.sources[1], path)
    result = build_corpus(CorpusConfig(sources=(str(path),), max_malformed_share=0.9), Workdir(tmp_path / "run"))
    counts = result.manifest["counts"]
    assert (counts["pairs"], counts["malformed"], counts["dropped"], counts["code_only"]) == (1, 3, 1, 0)


def test_a_corpus_of_code_alone(built, tmp_path):
    config, _, _, _ = built
    code = CorpusConfig(sources=config.sources[:1], kinds=(), code_only=("module",), dev_share=0.0, test_share=0.0)
    result = build_corpus(code, Workdir(tmp_path), workers=1)
    assert result.manifest["counts"]["kinds"] == {"module": 10}
    card = json.loads((tmp_path / "corpus" / "card.json").read_text())
    assert set(card["characters"]["text"].values()) == {0}
    assert (tmp_path / "corpus" / "card.md").read_text().startswith("# 0 pairs of text and code, 10 of code alone\n")


def test_tokenizer_and_tokens_cope_with_empty_texts(built):
    _, workdir, _, _ = built
    settings = TokenizerConfig(vocab_size=400, sentinels=10)

    def pairs(split):
        return read_pairs(workdir, split)

    counts = build_tokenizer(settings, "text_to_code", workdir, pairs).manifest["counts"]
    assert all(report[side]["failures"] == [] for report in counts["check"].values() for side in ("text", "code"))
    build_tokens(DataConfig(), workdir, pairs)
    for split in ("train", "dev", "test"):
        tokens = Tokens.open(workdir.tokens, split)
        assert [length > 0 for length in tokens.text_lengths] == [found.has_text for found in pairs(split)]


def test_no_empty_text_is_trained_on():
    pairs = [pair("a text", "code 1"), pair("", "code 2"), pair("", "code 3")]
    assert list(sample_evenly(pairs, 3, 100)) == ["a text", "code 1", "code 2", "code 3"]


@pytest.mark.parametrize("direction", ["text_to_code", "code_to_text"])
def test_only_pairs_with_a_text_are_prompts_references_and_neighbours(monkeypatch, direction, tmp_path):
    held = {
        "train": [pair("", "module", "module", number=1), pair("text", "code", number=2)],
        "dev": [pair("", "module", "module", "dev", number) for number in range(20)],
    }
    held["dev"].insert(7, pair("dev text", "dev code", split="dev", number=30))
    monkeypatch.setattr(prompts, "read_pairs", lambda workdir, split: iter(held[split]))
    experiment = configs.from_dict({"data": {"direction": direction}})
    workdir = Workdir(tmp_path)

    def decoder(config):
        return dev_decoder(workdir, config.model, config.data, config.decode, config.train)

    want = ("text", "code") if direction == "text_to_code" else ("code", "text")
    assert [(found.text, found.code) for found in prompts.prompt_pairs(workdir, "train", direction)] == [want]
    assert len(list(prompts.prompt_pairs(workdir, "dev", direction))) == 1
    assert decoder(experiment) is not None
    held["dev"] = held["dev"][:5]
    assert decoder(experiment) is None
    held["dev"] = [pair("dev text", "dev code", split="dev")]
    assert decoder(Experiment(train=TrainConfig(samples=0))) is None


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match=r"config\.corpus\.code_only: 'modul' is unknown; did you mean 'module'"):
        build_corpus(CorpusConfig(code_only=("modul",)), Workdir(tmp_path))
    with pytest.raises(UserError, match=r"config\.corpus\.code_only: 'markdown' is unknown"):
        build_corpus(CorpusConfig(code_only=("markdown",)), Workdir(tmp_path))
    for other in ({"text": "name"}, {"code": "apis", "text": "summary"}):
        with pytest.raises(UserError, match=r"config\.corpus\.code_only is for code as it is written"):
            check(Experiment(corpus=CorpusConfig(code_only=("module",), **other)))
    check(Experiment(corpus=CorpusConfig(code_only=EVERY)))
