"""Statements and routines as pairs, from scripts in SQL.

A comment block documents the statement right below it. ``code`` is the statement with its semicolon, byte for byte.
``text`` is what the comment says. The signature of a routine is its header up to the first clause behind what it
returns; of a table, type or view it is what comes before its definition. Other statements have no signature.

Routines are of kind ``function``, everything else is a ``statement``. Statements that do not end (an open string,
bracket or block) are counted. Whether a statement is valid in its dialect is not checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from t2c_jax.config import CorpusConfig
from t2c_jax.languages import forms
from t2c_jax.languages.definitions.attached_comments import Comments, Item
from t2c_jax.languages.definitions.language_table import CommentRules
from t2c_jax.languages.definitions.source_file import read_source
from t2c_jax.languages.doc_comments import clean_doc
from t2c_jax.languages.extractor import Extract, Extraction
from t2c_jax.languages.forms import NoPair
from t2c_jax.languages.sql.statements import header_words, read_script

KIND = "statement"
RULES = CommentRules(
    style="plain",
    plain=True,
    directive=re.compile(rb"/\*[!+]|--\s*(?:sqlfluff|name)\b"),
)
_NAME = rb'(?:[\w$#@]+|"[^"]*"|`[^`]*`|\[[^\]]*\])'
_CREATED = re.compile(
    rb"\s*(?:CREATE|ALTER(?=\s+PROC))\b(?:\s+(?!FUNCTION|PROC)[\w=@`'\"]+){0,6}?"
    rb"\s+(?P<type>FUNCTION|PROC(?:EDURE)?|TABLE|VIEW|TYPE|DOMAIN)\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rb"(?P<name>" + _NAME + rb"(?:\s*\.\s*" + _NAME + rb")*)",
    re.IGNORECASE,
)
# What follows the header of a routine.
_CLAUSES = frozenset(
    [
        *(
            "AS",
            "IS",
            "BEGIN",
            "DECLARE",
            "RETURN",
            "LANGUAGE",
            "IMMUTABLE",
            "STABLE",
            "VOLATILE",
            "STRICT",
            "SECURITY",
        ),
        *("DETERMINISTIC", "NOT", "COST", "ROWS", "PARALLEL", "READS", "MODIFIES", "NO", "CONTAINS", "COMMENT", "SQL"),
        *("WINDOW", "SET", "SUPPORT", "LEAKPROOF", "CALLED", "WITH", "AUTHID", "PIPELINED", "SELECT", "EXTERNAL"),
    ]
)


@dataclass(frozen=True)
class _SqlHeader:
    """A statement as ``forms.Described``."""

    code: bytes

    @property
    def kind(self) -> str:
        """Of the pair."""
        created = _CREATED.match(self.code)
        return "function" if created and created["type"].upper()[:4] in (b"FUNC", b"PROC") else KIND

    @property
    def name(self) -> str:
        """What it creates; empty if that is nothing."""
        created = _CREATED.match(self.code)
        return created["name"].decode() if created else ""

    def signature(self) -> str:
        """Of what it creates, on one line; empty if that is nothing."""
        created = _CREATED.match(self.code)
        if created is None:
            return ""
        end = len(self.code)
        if self.kind == KIND:
            behind = self.code[created.end() :].lstrip()
            end = created.end() if behind.startswith(b"(") else self._end(created.end(), frozenset(["AS"]))
        else:
            end = self._end(created.end(), _CLAUSES)
        return " ".join(self.code[:end].decode().rstrip(" \t\r\n;").split())

    def _end(self, start: int, words: frozenset[str]) -> int:
        has_type = False
        for word, position in header_words(self.code):
            has_type |= word == "RETURNS"
            if word == "RETURN" and not has_type:  # Oracle's RETURNS
                continue
            if position >= start and (word in words or word[0] in "$'"):
                return position
        return len(self.code)


def extract_sql(data: bytes, config: CorpusConfig) -> Extraction:
    """What a script yields; see the module's docstring."""
    found = Extraction()
    text_form = forms.text_form(config)
    if forms.code_form(config) is not None or text_form.hides_name:
        return found
    source = read_source(data, "sql", config, found)
    if source is None:
        return found
    data, script = source, read_script(source)
    comments = Comments(data, [Item(start, end, True) for start, end in script.comments], RULES)
    line, counted = 1, 0
    for start, end, is_whole in script.statements:
        docs = comments.attached_to(start).docs
        header = _SqlHeader(data[start:end])
        if header.kind not in (config.kinds if docs else config.code_only):
            continue
        line += data.count(b"\n", counted, start)
        counted = start
        try:
            if not is_whole:
                raise NoPair("statement without an end (sql)")
            prose = clean_doc(b"\n".join(data[item.start : item.end] for item in docs).decode(), "plain")
            text = prose.part(text_form.part)
            if docs and not text:
                raise NoPair("empty documentation")
            text = text_form.write(header, text) if docs else ""
        except NoPair as reason:
            found.skipped.append((str(reason), line))
            continue
        end_line = line + data.count(b"\n", start, end)
        found.extracts.append(Extract(text, header.code.decode(), "sql", header.kind, line, end_line))
    return found
