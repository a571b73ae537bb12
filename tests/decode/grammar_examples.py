# ruff: noqa: E501  (tables of texts)
"""Texts of the packaged grammars, a tokenizer over them, and ways to make more: templates, mutations, random walks."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from t2c_jax.config import TokenizerConfig
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.tokenizers.sentencepiece import SentencePieceTokenizer
from t2c_jax.tokenizers.training import train

EXAMPLES = Path(__file__).parent / "examples"


def commands() -> list[str]:
    """Bash, written by hand: every construct that the grammar knows. Blank lines separate them in the file."""
    return (EXAMPLES / "commands.sh").read_text("utf-8").strip().split("\n\n")


def queries() -> list[str]:
    """SQL, written by hand in the manner of Spider, GeoQuery, WikiSQL and applications; a blank line after each."""
    return (EXAMPLES / "queries.sql").read_text("utf-8").strip().split("\n\n")


def filled(templates: Sequence[str], slots: dict[str, Sequence[str]], count: int, seed: int = 0) -> list[str]:
    """``count`` texts: templates in turn, each ``<slot>`` filled at random, also within what fills it."""
    source = random.Random(seed)

    def fill(text: str) -> str:
        while found := re.search(r"<(\w+)>", text):
            text = text[: found.start()] + source.choice(slots[found[1]]) + text[found.end() :]
        return text

    return [fill(templates[k % len(templates)]) for k in range(count)]


COMMAND_SLOTS: dict[str, Sequence[str]] = {
    "dir": [".", "/", "~", "/var/log", "src", '"$dir"', "$(pwd)", "/home/user", "`pwd`", "${root:-.}", "*/"],
    "glob": ["'*.py'", '"*.txt"', "\\*.log", "'core.[0-9]*'", '"$name*"', "*.c", "'.*.swp'"],
    "file": ["a.txt", "/etc/passwd", '"$f"', "data.csv", "$1", "notes{1,2}.md", "out\\ file", "'my file'"],
    "text": ["foo", "'^[a-z]+$'", '"error: $code"', "TODO", "\\.html", "'a b'", '"it\'s"', "$pattern"],
    "n": ["1", "2", "7", "10", "100", "$n", "${#a}", "$((i + 1))"],
    "test": ["-type f", "-type d", "-mtime -<n>", "-size +<n>M", "-name <glob>", "! -name <glob>", "-newer <file>",
             "\\( -name <glob> -o -iname <glob> \\)", "-maxdepth <n>", "-empty", "-perm -u+x", "-user root"],
    "do": ["-print0 | xargs -0 <run>", "-exec <run> {} \\;", "-exec <run> {} +", "-delete", "| <filter>", "-ls",
           "| while read -r l; do <run> \"$l\"; done", "-printf '%p %s\\n' | <filter>", ""],
    "run": ["rm -f", "grep -l <text>", "chmod 644", "wc -l", "sed -i 's/<word>/<word>/g'", "echo", "cp -t <dir>", "ls -l"],
    "filter": ["sort", "sort -rn | head -n <n>", "wc -l", "uniq -c", "awk '{print $<n0>}'", "cut -d: -f<n0>", "tail -<n>",
               "tr a-z A-Z", "grep -v <text>", "sed -n '<n0>,$p'", "tee <file>", "xargs echo", "awk -F, '$2 > 3 {s += $1} END {print s}'"],
    "n0": ["1", "2", "3"],
    "word": ["foo", "bar", "\\\\/tmp", "x[0-9]*", "&"],
    "redirect": ["", "", " > <file>", " 2>/dev/null", " >> <file> 2>&1", " &> <file>", " < <file>", " <<< <text>"],
    "condition": ["[ -f <file> ]", "[[ -d <dir> && <text> == x* ]]", "(( n > <n0> ))", "grep -q <text> <file>", "! test -e <file>"],
    "command": ["find <dir> <test> <test> <do>", "grep -rn <text> <dir><redirect>", "cat <file> | <filter>", "<run> <file><redirect>",
                "du -sh <dir> | <filter>", "tar czf <file> <dir>", "ps aux | grep <text> | <filter>", "x=$(<command>)", "echo \"$(<command>)\""],
}  # fmt: skip
COMMAND_TEMPLATES = [
    "<command>",
    "<command> && <command>",
    "<command>; <command>",
    "<command> || echo <text> >&2",
    "for f in <glob> <dir>; do <command>; done",
    "if <condition>; then <command>; else <command>; fi",
    "while <condition>; do <command>; sleep <n>; done &",
    "<condition> && { <command>; } || ( <command> )",
    "case $1 in <n0>) <command> ;; *) <command> ;; esac",
    "f() { <command>; }; f <file>",
]

QUERY_SLOTS: dict[str, Sequence[str]] = {
    "t": ["singer", "concert", "students", '"order items"', "city", "flights", "employees", "main.users"],
    "c": ["name", "age", "country", "T1.id", "T2.name", "year", "population", "salary", "[first name]", "date", "type"],
    "v": ["1", "20", "3.5", "'France'", "'it''s'", '"USA"', "-1", "NULL", "?", "(SELECT <agg> FROM <t>)", "<c>", "'2020-01-01'"],
    "agg": ["count(*)", "COUNT(DISTINCT <c>)", "avg(<c>)", "MAX(<c>)", "min(<c>)", "SUM(<c> * <c>)", "group_concat(<c>, ', ')"],
    "e": ["<c>", "<c>", "<agg>", "<c> + <v>", "lower(<c>)", "CAST(<c> AS REAL)", "CASE WHEN <p> THEN <v> ELSE <v> END",
          "COALESCE(<c>, <v>)", "<c> || '-' || <c>", "round(<agg>, 2)", "substr(<c>, 1, 3)", "-<c>", "(<c> - <c>) / 2.0",
          "ROW_NUMBER() OVER (PARTITION BY <c> ORDER BY <c> DESC)", "SUM(<c>) OVER (ORDER BY <c>)", "strftime('%Y', <c>)"],
    "p": ["<c> = <v>", "<c> != <v>", "<c> > <v>", "<c> <= <v>", "<c> LIKE '%x%'", "<c> BETWEEN 1 AND 10", "<c> IN (1, 2, 3)",
          "<c> NOT IN (SELECT <c> FROM <t>)", "<c> IS NULL", "<c> IS NOT NULL", "NOT <p>", "(<p> OR <p>)", "<p> AND <p>",
          "EXISTS (<select>)", "<c> = (<select>)", "<c> NOT LIKE <v>"],
    "from": ["<t>", "<t>", "<t> AS T1 JOIN <t> AS T2 ON T1.id = T2.id", "<t> T1 LEFT JOIN <t> T2 ON <p>", "<t>, <t> T2",
             "(<select>) AS s", "<t> AS T1 INNER JOIN <t> AS T2 USING (id) JOIN <t> AS T3 ON T3.a = T1.b"],
    "select": ["SELECT <e> FROM <from>", "SELECT <e>, <e> FROM <from> WHERE <p>", "SELECT DISTINCT <c> FROM <from> WHERE <p>",
               "SELECT <c>, <agg> AS n FROM <from> GROUP BY <c> HAVING <agg> > <v>", "SELECT * FROM <from>", "select <e> from <t> where <p>"],
    "order": ["", "", " ORDER BY <c>", " ORDER BY <agg> DESC LIMIT 1", " LIMIT 5 OFFSET 2", " ORDER BY <c> ASC, <c> DESC"],
    "set": [" UNION ", " UNION ALL ", " INTERSECT ", " EXCEPT "],
}  # fmt: skip
QUERY_TEMPLATES = [
    "<select><order>",
    "<select><order>",
    "<select><set><select><order>",
    "WITH a AS (<select>), b (x, y) AS (<select>) <select><order>;",
    "INSERT INTO <t> (a, b) VALUES (<v>, <v>), (<e>, <v>)",
    "INSERT INTO <t> <select>",
    "UPDATE <t> SET a = <e>, b = <v> WHERE <p>",
    "DELETE FROM <t> WHERE <p>",
    "CREATE TABLE copy AS <select><order>",
    "CREATE VIEW v AS <select>",
]


def made_commands(count: int, seed: int = 0) -> list[str]:
    """Commands in the manner of NL2Bash."""
    return filled(COMMAND_TEMPLATES, COMMAND_SLOTS, count, seed)


def made_queries(count: int, seed: int = 0) -> list[str]:
    """Queries and changes of data, nested at random."""
    return filled(QUERY_TEMPLATES, QUERY_SLOTS, count, seed)


@functools.cache
def tokenizer_over(name: str) -> SentencePieceTokenizer:
    """A SentencePiece model over a language's examples."""
    texts = {
        "bash": lambda: commands() * 2 + made_commands(400),
        "sql": lambda: queries() * 2 + made_queries(400),
        "json": lambda: ['{"name": [1, 2.5e-3, true, null], "text": "a \\u00e9 \\n"}', '[{"a": false}, "x y"]'] * 9,
    }[name]()
    size = {"bash": 2000, "sql": 2000, "json": 330}[name]
    return SentencePieceTokenizer(train(TokenizerConfig(vocab_size=size, sentinels=4, model_type="bpe"), texts))


class Pieces:
    """A tokenizer of all bytes and of given pieces: a random walk over it meets every construct."""

    eos, start, unk = 0, 0, -1
    target_before: tuple[int, ...] = ()
    target_after = (0,)
    special_ids: frozenset[int] = frozenset()

    def __init__(self, pieces: Iterable[str]) -> None:
        longer = [piece.encode() for piece in dict.fromkeys(pieces) if len(piece.encode()) > 1]
        self.surfaces = [b"", *(bytes([byte]) for byte in range(256)), *longer]
        self.vocab_size = len(self.surfaces)

    def decode(self, ids: Iterable[int], *, special_pieces: bool = False) -> str:
        return b"".join(self.surfaces[i] for i in ids).decode("utf-8", "replace")


def accepts(grammar: Grammar, tokenizer: SentencePieceTokenizer, text: str) -> bool:
    """Whether the tokens of a text are allowed one by one, and eos behind them."""
    ids = tokenizer.encode_batch([text])[0].tolist()
    matcher = grammar.root.deep_copy()
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def mutants(texts: Sequence[str], pieces: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Texts with a few words deleted, inserted, exchanged, or copied from other texts."""
    source = random.Random(seed)
    words = [re.findall(r"\w+|\s+|.", text, re.DOTALL) for text in texts]

    def mutant() -> str:
        kept = list(source.choice(words))
        for _ in range(source.choice([1, 1, 2, 3])):
            place, end = sorted(source.randrange(len(kept) + 1) for _ in range(2))
            kind = source.randrange(6)
            if kind == 0:
                del kept[place : place + 1]
            elif kind == 1:
                kept[place : place + 1] = [source.choice(pieces)]
            elif kind == 2:
                other = source.choice(words)
                start = source.randrange(len(other))
                kept[place:place] = other[start : start + source.randint(1, 8)]
            elif kind == 3:
                kept[end:end] = [source.choice(pieces)]
                kept[place:place] = [source.choice(pieces)]
            else:
                kept[place:place] = [source.choice(pieces)]
        return "".join(kept)

    return [mutant() for _ in range(count)]


def random_walks(
    grammar: Grammar,
    surfaces: Sequence[bytes],
    eos: int,
    closers: Iterable[str],
    count: int,
    seed: int = 0,
    longest: int = 200,
) -> list[str]:
    """Texts of random allowed tokens, long ones more often than bytes. Each one ends: late tokens prefer ``closers``.

    Raises:
      AssertionError: a text can neither go on nor end, or the engine failed.
    """
    source, closing = random.Random(seed), {closer.encode() for closer in closers}
    weights = [20.0 if len(surface) > 1 else 8.0 if surface in closing else 0.05 for surface in surfaces]
    found: list[str] = []
    while len(found) < count:
        matcher, text, budget = grammar.root.deep_copy(), b"", source.choice([3, 6, 12, 25])
        for step in range(longest):
            mask_N = grammar.bit_masks([matcher])[0]
            ids = np.flatnonzero(np.unpackbits(mask_N.view(np.uint8), bitorder="little")).tolist()
            assert ids, f"nothing may follow {text!r}"
            if eos in ids and (step >= budget or ids == [eos] or source.random() < 0.1):
                found.append(text.decode())
                break
            ids = [i for i in ids if i != eos]
            if step >= budget and source.random() < 0.85:
                ids = [i for i in ids if surfaces[i] in closing] or ids
            token = source.choices(ids, [weights[i] for i in ids])[0]
            assert matcher.consume_token(token), matcher.get_error()
            text += surfaces[token]
    return found


def counterexamples(texts: Iterable[str], valid: Callable[[str], bool]) -> list[str]:
    """Those that are not valid, each once."""
    return [text for text in dict.fromkeys(texts) if not valid(text)]
