"""Grammars: how much real code they accept token by token, what they reject, and the time of a mask.

    python benchmarks/grammar.py --language python --source python:stdlib --source SITE_PACKAGES
    python benchmarks/grammar.py --language python-line --source django/train.jsonl
    python benchmarks/grammar.py --language bash --source nl2bash/train.jsonl
    python benchmarks/grammar.py --language sql --source tests/decode/examples/queries.sql

The texts are the pairs' code that the language's own parser accepts: ``ast``, ``bash -n``, or sqlglot and SQLite. A
``.sql`` or ``.sh`` file has a blank line behind each text. A tokenizer of 4,096 pieces is trained on a part of them, as
a run would train it. Some texts are damaged at random, and those that the grammar still accepts must parse.
Masks are timed by the thread's own processor time, along texts of the corpus, in a first round over fresh states of the
lexer and in a second one.
"""

from __future__ import annotations

import argparse
import ast
import io
import logging
import random
import re
import shutil
import sqlite3
import subprocess
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t2c_jax import console
from t2c_jax.config import CorpusConfig, TokenizerConfig
from t2c_jax.corpus.mine import mine_files
from t2c_jax.corpus.pairs_file.pair_reader import read_file
from t2c_jax.corpus.parts import tree_parts
from t2c_jax.corpus.rules.limits import broken_limit
from t2c_jax.corpus.shards import ShardSummary
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import FileTree, PairsFile, resolve
from t2c_jax.decode.grammar.engine import Engine
from t2c_jax.decode.grammar.grammar_sources import source_of
from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.errors import UserError
from t2c_jax.evaluate.metrics.python_match import canonical_python
from t2c_jax.tokenizers.sentencepiece import SentencePieceTokenizer
from t2c_jax.tokenizers.training import train


@dataclass(frozen=True)
class Language:
    """A grammar's benchmark.

    Attributes:
      of: the language of a mined pair that counts.
      parses: whether a text is of the language, by its own parser.
      causes: patterns of the line in which a text is rejected, by the cause that they stand for; the first one counts.
    """

    of: str
    parses: Callable[[str], bool]
    causes: dict[str, str]


def _parses_as_python(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return False
    return True


def _parses_as_bash(text: str) -> bool:
    done = subprocess.run([shutil.which("bash") or "bash", "--norc", "-n"], input=text.encode(), capture_output=True)
    return done.returncode == 0 and not done.stderr


def _parses_as_sql(text: str) -> bool:
    """By sqlglot, and by SQLite, which knows none of the tables."""
    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    try:
        parsed = sqlglot.parse_one(text, dialect="sqlite")
    except sqlglot.errors.SqlglotError:
        return False
    if isinstance(parsed, sqlglot.exp.Command) and not text.lower().startswith("replace"):
        return False  # text that it does not know; REPLACE INTO is left to SQLite
    with sqlite3.connect(":memory:") as database:
        try:
            database.execute(f"EXPLAIN {text}")
        except sqlite3.OperationalError as error:
            return not any(fault in str(error) for fault in ("syntax error", "incomplete input", "unrecognized token"))
        except sqlite3.ProgrammingError as error:  # a parameter without a value
            return "bindings" in str(error)
    return True


_PYTHON_CAUSES = {
    "carriage return": r"\r",
    r"\N{NAME}": r"\\N\{",
    "f-string in an f-string": r"[fF][rR]?['\"].*[fF]['\"]",
    "keyword behind a bracket without space": r"[)\]}'\"](as|async)\b",
}
LANGUAGES = {
    "python": Language("python", _parses_as_python, _PYTHON_CAUSES),
    "python-line": Language("python", lambda text: canonical_python(text) is not None, _PYTHON_CAUSES),
    "bash": Language("bash", _parses_as_bash, {"here-document": r"<<[^<]", "extended pattern": r"[@?*+!]\("}),
    "sql": Language("sql", _parses_as_sql, {"comment": r"--|/\*", "keyword behind a bracket without space": r"\)\w"}),
}


def texts_of(source: str, language: Language) -> Iterator[str]:
    """The code of a source's pairs that a run would keep, each once."""
    if Path(source).suffix in (".sql", ".sh"):
        yield from filter(language.parses, dict.fromkeys(Path(source).read_text("utf-8").strip().split("\n\n")))
        return
    config = CorpusConfig(sources=(source,), min_code_chars=0 if source.endswith(".jsonl") else 20)
    resolved = resolve(source, config, Path("/nonexistent"))
    report, seen = SourceReport(source), set()
    if isinstance(resolved, FileTree):
        pairs = (pair for part in tree_parts(resolved) for pair in mine_files(part, config, ShardSummary()))
    elif isinstance(resolved, PairsFile):
        candidates = read_file(resolved, config, report, io.StringIO(), lambda: None)
        pairs = (candidate.pair for candidate in candidates)
    else:
        raise UserError(f"source '{source}' is neither a directory nor a file of pairs")
    for pair in pairs:
        mined = isinstance(resolved, FileTree)
        if pair.code in seen or (mined and (pair.language != language.of or broken_limit(pair, config))):
            continue
        seen.add(pair.code)
        if language.parses(pair.code):
            yield pair.code


def rejected_at(engine: Engine, tokens: list[int]) -> int | None:
    """The place of the first token that the grammar does not allow; the length where the text may not end there."""
    matcher = engine.root.deep_copy()
    count = matcher.try_consume_tokens(tokens)
    return None if count == len(tokens) and matcher.is_accepting() else count


def damaged(text: str, draw: random.Random) -> str:
    """The text with one or two of its words or signs taken out, repeated elsewhere or exchanged."""
    pieces = re.findall(r"\w+|\s+|.", text, re.DOTALL)
    for _ in range(draw.choice((1, 1, 2))):
        at = draw.randrange(len(pieces))
        pieces[at : at + draw.choice((0, 1))] = draw.choice(([], [draw.choice(pieces)]))
        if not pieces:
            break
    return "".join(pieces)


def mask_times(engine: Engine, texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds of each mask and of each token's advance."""
    masks, advances = [], []
    for tokens in texts:
        matcher = engine.root.deep_copy()
        for token in tokens:
            begin = time.thread_time_ns()
            matcher.compute_bitmask()
            middle = time.thread_time_ns()
            matcher.consume_token(token)
            masks.append(middle - begin)
            advances.append(time.thread_time_ns() - middle)
    return np.array(masks) / 1e3, np.array(advances) / 1e3


def _cause(language: Language, text: str, at: int) -> str:
    start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    line = text[start : end if end >= 0 else len(text)]
    return next((cause for cause, pattern in language.causes.items() if re.search(pattern, line)), "other")


def main() -> None:
    """Prints one table a source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language", choices=LANGUAGES, default="python")
    parser.add_argument("--source", action="append", help="as in config.corpus.sources; several times for several")
    parser.add_argument("--every", type=int, default=1, help="take every so many of the texts")
    parser.add_argument("--timed", type=int, default=100, help="texts along which masks are timed")
    parser.add_argument("--vocabulary", type=int, default=4096, help="pieces of the tokenizer")
    parser.add_argument("--damaged", type=int, default=2000, help="damaged texts")
    options = parser.parse_args()
    language, tokenizer = LANGUAGES[options.language], None
    for source in options.source or ["python:stdlib"]:
        texts = [text for i, text in enumerate(texts_of(source, language)) if i % options.every == 0]
        draw = random.Random(0)
        if tokenizer is None:
            sample = draw.sample(texts, min(len(texts), 4000))
            tokenizer = SentencePieceTokenizer(train(TokenizerConfig(vocab_size=options.vocabulary), sample))
            begin = time.thread_time()
            engine = Engine(source_of(options.language), Spelling.of(tokenizer))
            console.say(f"{options.language}: compiled in {time.thread_time() - begin:.2f} s")
        found = defaultdict(list)
        for text in texts:
            tokens = tokenizer.encode_batch([text])[0].tolist()
            if (at := rejected_at(engine, tokens)) is not None:
                place = len(tokenizer.decode(tokens[:at]))
                found[_cause(language, text, place)].append((text, place))
        count = sum(map(len, found.values()))
        console.say(f"{source}: {len(texts) - count} of {len(texts)} accepted, {1 - count / len(texts):.3%}")
        for cause, cases in sorted(found.items(), key=lambda case: -len(case[1])):
            console.say(f"  rejected: {len(cases)} for {cause}")
            for text, at in cases[:5]:
                console.say(f"    {text[max(at - 40, 0) : at]!r} >>> {text[at : at + 20]!r}")
        accepted, wrong = 0, []
        for _ in range(options.damaged):
            text = damaged(draw.choice(texts), draw)
            if text and rejected_at(engine, tokenizer.encode_batch([text])[0].tolist()) is None:
                accepted += 1
                wrong += [text] if not language.parses(text) else []
        console.say(f"  damaged: {accepted} of {options.damaged} accepted, {len(wrong)} of them do not parse")
        for text in wrong[:5]:
            console.say(f"    {text!r}")
        along = draw.sample(texts, min(options.timed, len(texts)))
        timed = [tokens.tolist() for tokens in tokenizer.encode_batch(along)]
        fresh = Engine(source_of(options.language), engine.spelling)
        for name in ("first", "second"):
            masks, advances = mask_times(fresh, timed)
            low, high = np.percentile(masks, (50, 99))
            console.say(
                f"  {name} round, {len(masks)} masks: median {low:.0f} us, mean {masks.mean():.0f}, 99 % {high:.0f},"
                f" most {masks.max() / 1e3:.1f} ms; advance {advances.mean():.0f} us"
            )


if __name__ == "__main__":
    main()
