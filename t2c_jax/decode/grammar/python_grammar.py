"""Writes ``python.lark`` and ``python-line.lark``: ``python -m t2c_jax.decode.grammar.python_grammar``.

The rules of expressions are needed three times, since white space differs: in a line, outside of brackets (``o``); in
brackets (``i``); in a replacement field of an f-string (``f``). Indentation needs one terminal a column. Both are
written from templates, in llguidance's dialect of Lark with these additions:

- ``name@``: the rule in the template's own form, and the terminal: ``name_o``, ``NAME_O``.
- ``name#``: the same in one more bracket: ``name_i`` from ``o`` and ``i``, ``name_f`` from ``f``.
- ``name:rest`` and ``name:word``, where a form has variants: ``_o`` is what may follow an operator. ``_ok`` follows a
  keyword, so a word needs white space before it (``returnx`` is a name). ``_on`` begins a statement, so there is no
  white space before it (it would be indentation). They differ from ``_o`` in their first terminal, and what is behind
  that is marked ``:rest``.
- ``NAME?``: the terminal in the variant of the rule.

What llguidance does not say in its documents, and what the rules rely on:

- The lexer never goes back to a shorter match, as CPython's does not.
- A completed rule advances every rule that waits for it since the same place, whatever the parameter they wait with.
  So no two rules may wait for one rule with different parameters at one place. The column of a line is therefore a
  terminal in the rule of the list of statements, and not a rule of its own.
- The time of a mask grows with the rules that may begin at a place. So lists have a rule for what follows their first
  element, and operators share terminals.
- A rule within its own definition takes a constant as its parameter only in parentheses; otherwise llguidance panics.
- A terminal that cannot grow is parsed at once, for every token that ends with it, and one that can grow is not. So
  brackets and operators may have form feeds behind them, which Python ignores and nobody writes.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

# Columns at which a block may begin. The parameter of a block is its column: spaces from 0 to 60, 64 + n for n tabs.
SPACES = (*range(25), *range(28, 61, 4))
TABS = tuple(range(1, 11))
MAX_BRACKETS = 60  # open at one place; CPython allows 200
DEPTH_IN_FIELDS = "[2:8]"  # bits of the parameter that count brackets

# Blocks of letters without gaps, which every Python has known since 3.11.
LETTERS = "A-Za-z_" + "".join(
    rf"\u{{{first}}}-\u{{{last}}}"
    for first, last in (
        *(("C0", "D6"), ("D8", "F6"), ("F8", "24F"), ("391", "3A1"), ("3A3", "3CE"), ("410", "44F")),
        *(("3041", "3096"), ("30A1", "30FA"), ("4E00", "9FA5"), ("AC00", "D7A3")),
    )
)
BEYOND_ASCII = r"\u{80}-\u{10FFFF}"

HEX = "[0-9a-fA-F]"
DIGITS = "[0-9](_?[0-9])*"
EXPONENT = f"[eE][+-]?{DIGITS}"
# Python refuses integers of more than 4,300 digits.
INTEGER = rf"0[xX](_?{HEX})+|0[oO](_?[0-7])+|0[bB](_?[01])+|[1-9](_?[0-9]){{0,400}}|0(_?0){{0,400}}"
POINT = rf"\.{DIGITS}({EXPONENT})?[jJ]?"  # .5
NUMBER = rf"{INTEGER}|{DIGITS}(\.({DIGITS})?({EXPONENT})?[jJ]?|{EXPONENT}[jJ]?|[jJ])"

SPACE = {"o": r"([ \t]|\\\n)", "i": r"([ \t\n]|\\\n|#[^\n\r\x00]*\n)", "f": r"[ \t]"}
"""White space before a terminal."""

QUOTES = {"D": '"', "S": "'", "TD": '"""', "TS": "'''"}
"""Kinds of strings."""

ANY_ESCAPE = r"\\[^\r\x00]"
BYTES_ESCAPE = rf"\\([^x\r\x00]|x{HEX}{{2}})"
DOUBLED = r"\{\{|\}\}"  # braces in an f-string


def _escape(forbidden: str = "") -> str:
    r"""A backslash and what may follow it: ``\x``, ``\u``, ``\U`` are checked; ``\N`` would need all names."""
    return rf"\\([^xuUN{forbidden}\r\x00]|x{HEX}{{2}}|u{HEX}{{4}}|U(000{HEX}|0010){HEX}{{4}})"


def _contents(quote: str, forbidden: str, escaped: str) -> str:
    """What stands between quotes; in triple quotes also newlines, and one or two quotes before something else."""
    newline = r"\n" if len(quote) == 1 else ""
    character = rf"([^{forbidden}{quote[0]}\\\r\x00{newline}]|{escaped})"
    return f"{character}*" if len(quote) == 1 else f"({character}|{quote[0]}{{1,2}}{character})*"


def _f_text(quote: str, raw: bool = False) -> str:
    """Text of an f-string around its fields."""
    escaped = rf"\\({DOUBLED})|\\[^{{}}\r\x00]" if raw else _escape("{}")
    return _contents(quote, "{}", f"{DOUBLED}|{escaped}")


def _f_open(quote: str, raw: bool = False) -> str:
    """The brace that begins a field, and what a text's contents do not include."""
    return (f"{quote[0]}{{0,2}}" if len(quote) == 3 else "") + (r"\\?" if raw else "") + r"\{"


def _alternatives(texts: list[str]) -> str:
    return "|".join(texts)


PLAIN_STRING = _alternatives([f"{quote}{_contents(quote, '', _escape())}{quote}" for quote in QUOTES.values()])
PREFIXED_STRING = _alternatives(
    [
        f"{prefix}{quote}{contents}{quote}"
        for quote in QUOTES.values()
        for prefix, contents in (
            ("[uU]", _contents(quote, "", _escape())),
            ("[rR]", _contents(quote, "", ANY_ESCAPE)),
            ("[fF]", _f_text(quote)),
            ("([fF][rR]|[rR][fF])", _f_text(quote, raw=True)),
        )
    ]
)
BYTES = _alternatives(
    [
        f"{prefix}{quote}{_contents(quote, '', escaped).replace('[^', f'[^{BEYOND_ASCII}')}{quote}"
        for quote in QUOTES.values()
        for prefix, escaped in (("[bB]", BYTES_ESCAPE), ("([bB][rR]|[rR][bB])", ANY_ESCAPE))
    ]
)


def _f_head(quote: str) -> str:
    """An f-string up to its first field. Behind that a raw one is read as others are, which allows less."""
    return (
        f"[fF]{quote}{_f_text(quote)}{_f_open(quote)}"
        f"|([fF][rR]|[rR][fF]){quote}{_f_text(quote, raw=True)}{_f_open(quote, raw=True)}"
    )


def _field_string(quotes: str, prefixed: bool) -> str:
    """A string in a field: no backslash and none of the quotes around the field, nor two quotes in a row."""
    forbidden, least = ("'\"", "+") if len(quotes) == 2 else ("'\"".replace(quotes, "") + quotes, "*")
    found = []
    for quote in quotes:
        contents = rf"[^{forbidden}\\\n\r\x00]{least}{quote}"
        found += [
            *([f"[rRuU]{quote}{contents}"] if prefixed else [f"{quote}{contents}"]),
            *([f"[bB]{quote}{contents.replace('[^', f'[^{BEYOND_ASCII}')}"] if prefixed else []),
        ]
    return _alternatives(found)


# Terminals at the beginning of an expression: words, which must not follow a keyword without space, and others.
BEGINNING = {
    "NAME": ("NAME", ""),
    "CONST": (f"/None|True|False|{NUMBER}/", rf"/\.\.\.|{POINT}/"),
    "NOT": ("/not/", ""),
    "AWAIT": ("/await/", ""),
    "LAMBDA": ("/lambda/", ""),
    "YIELD": ("/yield/", ""),
    "UNARY": ("", "/[-+~]{1,4}/"),
    "LPAR": ("", r"/\(\f*/"),
    "LSQB": ("", r"/\[\f*/"),
    "LBRACE": ("", r"/\{\f*/"),
    "STAR": ("", r"/\*\f*/"),
    "DSTAR": ("", r"/\*\*\f*/"),
}
BEGINNING_NOT_IN_FIELDS = {
    "STR": (rf"/({PREFIXED_STRING})\f*/", rf"/({PLAIN_STRING})\f*/"),
    "BYTES": (rf"/({BYTES})\f*/", ""),
    **{f"FOPEN{kind}": (f"/{_f_head(quote)}/", "") for kind, quote in QUOTES.items()},
    # In patterns; "_" is no name there.
    "PVALUE": ('(NAME & ~/_/) ("." NAME)*', ""),
    "PANY": ("/_/", ""),
    "PCONST": (f"/None|True|False|{NUMBER}/", rf"/-[ \t]*({NUMBER}|{POINT})|{POINT}/"),
}
BEGINNING_IN_FIELDS = {
    f"STR{number}": (rf"/({_field_string(quotes, True)})\f*/", rf"/({_field_string(quotes, False)})\f*/")
    for number, quotes in enumerate(("'", '"', "'\""))
}

# Other terminals of expressions.
ARITHMETIC = r"\*\*?|\/\/?|%|@|\+|-|<<|>>|&|\^|\|"
INSIDE = {
    "ATTR": r'"." SPACE* NAME',
    "RPAR": r"/\)\f*/",
    "RSQB": r"/\]\f*/",
    "RBRACE": r"/\}\f*/",
    "COMMA": r"/,\f*/",
    "COLON": r"/:\f*/",
    "EQ": r"/=\f*/",
    "WALRUS": r"/:=\f*/",
    "SLASH": r"/\/\f*/",
    "IF": r"/if\f*/",
    "ELSE": r"/else\f*/",
    "FOR": r"/for\f*/",
    "IN": r"/in\f*/",
    "IS": r"/is\f*/",
    "ANDOR": r"/(and|or)\f*/",
    "RELATION": r'/(in|is)\f*/ | "not" SPACE+ /in\f*/',
    "ARITHMETIC": rf"/({ARITHMETIC})\f*/",
    "OP": rf"/({ARITHMETIC}|==|!=|<=|>=|<|>)\f*/",
}
# Words behind words, and those that must not touch a number: "0as" and "0async" are none to Python, "0if" is.
WORDS = ("IN", "FOR", "FROM", "AS", "ASYNC")

EXPRESSIONS = r"""
named@ : expr@ | NAME? WALRUS@ expr:rest
expr@ : test@ | test@ IF@ test:word ELSE@ expr:word | LAMBDA? lambda:word
// Which operator binds closer does not matter here, but "not" stands only at the beginning and behind "and" and "or".
test@ : primary@
    | AWAIT? primary:word
    | UNARY? unary:rest
    | NOT? not:word
    | test@ OP@ operand:rest
    | test@ RELATION@ operand:word
    | test@ IS@ NOT@K operand:word
    | test@ ANDOR@ not:word
not@ : operand@ | NOT? not:word
operand@ : primary@ | AWAIT? primary:word | UNARY? unary:rest
unary@ : primary@ | AWAIT@ primary:word | UNARY@ primary@
// Behind a star there is no comparison.
sum@ : operand@ | sum@ ARITHMETIC@ operand:rest
primary@ : NAME?
    | CONST?
    | LPAR? paren# RPAR#
    | LSQB? list# RSQB#
    | LBRACE? braces# RBRACE#
    | primary@ ATTR@
    | primary@ LPAR@ args# RPAR#
    | primary@ LSQB@ slices# RSQB#
    | STRINGS
star@ : expr@ | STAR? sum:rest
stars@ : star@ | star@ COMMA@ stars_more:rest
stars_more@ : "" | stars_list@ comma@
stars_list@ : star@ | stars_list@ COMMA@ star@
yield@ : "" | stars@ | FROM@K expr:word

// What may be assigned to.
place@ : NAME? | primary@ ATTR@ | primary@ LSQB@ slices# RSQB#
target@ : place@ | LPAR? ptarget# RPAR# | LSQB? ltarget# RSQB#
startarget@ : target@ | STAR? target:rest
targets@ : startarget@ | startarget@ COMMA@ targets_more:rest
targets_more@ : "" | targets_list@ comma@
targets_list@ : startarget@ | targets_list@ COMMA@ startarget@

lambda@ : COLON@ expr:rest | parameters@ COLON@ expr:rest
PARAMETERS
"""

# param, starparam: with an annotation in a def. A default behind each default; names alone behind the stars.
PARAMETERS = r"""
parameters@ : positional@ comma@
    | keyword@ comma@
    | keywords@ comma@
    | varargs@ comma@
positional@ : plain@ | slash@ | defaults@ | defaults_slash@
before@ : positional@ COMMA@
default@ : param@ EQ@ expr:rest
plain@ : param@ | plain@ COMMA@ param:rest
slash@ : plain@ COMMA@ SLASH@ | slash@ COMMA@ param:rest
defaults@ : default@ | plain@ COMMA@ default:rest | defaults@ COMMA@ default:rest
defaults_slash@ : defaults@ COMMA@ SLASH@
    | slash@ COMMA@ default:rest
    | defaults_slash@ COMMA@ default:rest
varargs@ : starparam@ | before@ starparam:rest
bare@ : STAR? COMMA@ | before@ STAR@ COMMA@
keyword@ : bare@ either:rest | varargs@ COMMA@ either:rest | keyword@ COMMA@ either:rest
either@ : param@ | default@
keywords@ : DSTAR? param:rest
    | before@ DSTAR@ param:rest
    | varargs@ COMMA@ DSTAR@ param:rest
    | keyword@ COMMA@ DSTAR@ param:rest
"""
LAMBDA_PARAMETER = """
param@ : NAME?
starparam@ : STAR? NAME@
"""
DEF_PARAMETER = """
param_def::_ : NAME_I | NAME_I COLON_I expr_i::_
starparam_def::_ : STAR_I param_def::_ | STAR_I NAME_I COLON_I STAR_I sum_i::_
"""

BRACKETS = """
paren@ : "" | YIELD@ yield:word | named@ | expr@ comps@ | element@ COMMA@ more@
list@ : "" | element@ | element@ COMMA@ more@ | expr@ comps@
braces@ : "" | element@ | element@ COMMA@ more@ | expr@ comps@
    | pair@ | pair@ COMMA@ pair_more@ | expr@ COLON@ expr@ comps@
element@ : expr@ | NAME@ WALRUS@ expr@ | STAR@ sum@
more@ : "" | elements@ | elements@ COMMA@
elements@ : element@ | elements@ COMMA@ element@
pair@ : expr@ COLON@ expr@ | DSTAR@ sum@
pair_more@ : "" | pairs@ | pairs@ COMMA@
pairs@ : pair@ | pairs@ COMMA@ pair@
comps@ : comp@ | comps@ comp@ | comps@ IF@ test:word
comp@ : FOR@ targets:word IN@ test:word | ASYNC@K FOR@K targets:word IN@ test:word
ptarget@ : "" | target@ | startarget@ COMMA@ targets_more@
ltarget@ : "" | targets@

// Arguments: positional ones and stars, then keywords and stars, then keywords and double stars.
args@ : "" | expr@ comps@
    | arg@ | arg@ COMMA@ arg_more@
    | kwarg@ | kwarg@ COMMA@ kwarg_more@
    | dstar@ | dstar@ COMMA@ dstar_more@
arg@ : expr@ | NAME@ WALRUS@ expr@ | STAR@ expr@
kwarg@ : NAME@ EQ@ expr@
dstar@ : DSTAR@ expr@
// More of them, the first of which is positional, a keyword or a double star.
arg_more@ : kwarg_more@ | arg_list@ | arg_list@ COMMA@ kwarg_more@
arg_list@ : arg@ | arg_list@ COMMA@ arg@
kwarg_more@ : "" | kwarg_list@ | kwarg_list@ COMMA@ dstars@ | dstar_list@ comma@
kwarg_list@ : kwarg_or_star@ | kwarg_list@ COMMA@ kwarg_or_star@
kwarg_or_star@ : kwarg@ | STAR@ expr@
dstars@ : "" | dstar_list@ comma@
dstar_list@ : dstar@ | dstar_list@ COMMA@ kwarg_or_dstar@
kwarg_or_dstar@ : kwarg@ | dstar@
dstar_more@ : "" | kwarg_or_dstar_list@ comma@
kwarg_or_dstar_list@ : kwarg_or_dstar@ | kwarg_or_dstar_list@ COMMA@ kwarg_or_dstar@

slices@ : slice@ | slice@ COMMA@ slice_more@
slice_more@ : "" | slice_list@ | slice_list@ COMMA@
slice_list@ : slice@ | slice_list@ COMMA@ slice@
slice@ : named@ | STAR@ expr@ | COLON@ bound@ | expr@ COLON@ bound@
bound@ : "" | expr@ | COLON@ step@ | expr@ COLON@ step@
step@ : "" | expr@
"""

PATTERNS = """
// Patterns of match statements.
patterns@ : pattern@ | starpattern@ COMMA@ patterns_more:rest
patterns_more@ : "" | patterns_list@ comma@
patterns_list@ : starpattern@ | patterns_list@ COMMA@ starpattern@
starpattern@ : pattern@ | STAR@ PNAME@ | STAR@ PANY@
pattern@ : orpattern@ | orpattern@ AS@K PNAME@K
orpattern@ : closed@ | orpattern@ BAR@ closed:rest
closed@ : PVALUE? | PANY? | PCONST? | STR? strings@ | BYTES? bytes@
    | PVALUE? LPAR@ RPAR_I | PVALUE? LPAR@ pargs_i comma_i RPAR_I
    | LPAR@ pgroup_i RPAR_I
    | LSQB@ RSQB_I | LSQB@ patterns_i RSQB_I
    | LBRACE@ RBRACE_I | LBRACE@ pmap_i comma_i RBRACE_I
"""
PATTERN_BRACKETS = """
pgroup_i : "" | pattern_i | starpattern_i COMMA_I patterns_more_i
pargs_i : pargs_list_i | pargs_list_i COMMA_I pkwargs_i | pkwargs_i
pargs_list_i : pattern_i | pargs_list_i COMMA_I pattern_i
pkwargs_i : pkwarg_i | pkwargs_i COMMA_I pkwarg_i
pkwarg_i : NAME_I EQ_I pattern_i
pmap_i : prest_i | pmap_list_i | pmap_list_i COMMA_I prest_i
pmap_list_i : pitem_i | pmap_list_i COMMA_I pitem_i
pitem_i : pkey_i COLON_I pattern_i
pkey_i : PDOTTED_I | PCONST_I | STR_I strings_i | BYTES_I bytes_i
prest_i : DSTAR_I PNAME_I
"""

SIMPLE = """
simples : simple | simple SEMI simple_more
simple_more : "" | simple_list | simple_list SEMI
simple_list : simple | simple_list SEMI simple
simple : stars_on
    | YIELD_ON yield_ok
    | assigned stars_o
    | assigned YIELD_O yield_ok
    | place_on AUG value
    | place_on annotation
    | LPAR_ON place_i::1 RPAR_I annotation
    | ALONE
    | RETURN stars_ok
    | RAISE expr_ok raise_tail
    | ASSERT expr_ok assert_tail
    | DEL dels_ok
    | SCOPE NAME_OK scope_tail
    | IMPORT modules
    | FROM from
value : stars_o | YIELD_O yield_ok
assigned : targets_on EQ_O | assigned targets_o EQ_O
annotation : COLON_O expr_o | COLON_O expr_o EQ_O value
raise_tail : "" | FROM_OK expr_ok
assert_tail : "" | COMMA_O expr_o
scope_tail : "" | scope_tail COMMA_O NAME_O
modules : dotted_ok as_o | modules COMMA_O dotted_o as_o
dotted_o : NAME_O | dotted_o ATTR_O
dotted_ok : NAME_OK | dotted_ok ATTR_O
as_o : "" | AS_OK NAME_OK
from : dotted_ok IMPORT_OK imported | dots IMPORT_O imported | dots dotted_o IMPORT_OK imported
dots : DOTS | dots DOTS
imported : STAR_O | imports_o | LPAR_O imports_i comma_i RPAR_I
imports_o : NAME_OK as_o | imports_o COMMA_O NAME_O as_o
imports_i : NAME_I as_i | imports_i COMMA_I NAME_I as_i
as_i : "" | AS_IK NAME_IK
"""

DELETE = """
dels@ : del@ | del@ COMMA@ dels_more:rest
dels_more@ : "" | dels_list@ comma@
dels_list@ : del@ | dels_list@ COMMA@ del@
del@ : place@ | LPAR? pdels# RPAR_I | LSQB? pdels# RSQB_I
"""

HEADERS = """
// Compound statements up to their colon. Those of with, def and class may stand alone.
header : WITH with | DEF signature | CLASS class | ASYNC DEF_OK signature | ASYNC WITH_OK with
decorable : DEF signature | CLASS class | ASYNC DEF_OK signature
if_header : IF named_ok BCOLON
elif_header : ELIF named_ok BCOLON
else_header : ELSE BCOLON
loop_header : FOR for | WHILE named_ok BCOLON | ASYNC FOR_OK for
try_header : TRY BCOLON
except_header : EXCEPT BCOLON | EXCEPT expr_ok as_o BCOLON
group_header : EXCEPT STAR_O expr_o as_o BCOLON
finally_header : FINALLY BCOLON
match_header : MATCH subject COLON_O
case_header : CASE patterns_ok guard BCOLON
decorator : AT named_o
with : items_o BCOLON | LPAR_O items_i comma_i RPAR_I BCOLON
items_o : expr_ok item_o | items_o COMMA_O expr_o item_o
item_o : "" | AS_OK startarget_ok
items_i : expr_i::1 item_i | items_i COMMA_I expr_i::1 item_i
item_i : "" | AS_IK startarget_ik::1
signature : NAME_OK LPAR_O params RPAR_I returns BCOLON
params : "" | parameters_def::1
returns : "" | ARROW expr_o
class : NAME_OK bases BCOLON
bases : "" | LPAR_O args_i::1 RPAR_I
for : targets_ok IN_O stars_ok BCOLON
subject : named_ok | subject_first COMMA_O | subject_first COMMA_O subjects comma_o
subject_first : named_ok | STAR_O sum_o
subjects : subject_next | subjects COMMA_O subject_next
subject_next : named_o | STAR_O sum_o
guard : "" | IF_O named_ok
"""

MODULE = """
start : LEAD module | module
module : all::0 | all::0 END

// A list of statements at one column. What it ends with decides what may follow.
all::_ : next::_ simple | next::_ simple SEMI simple_more
    | next::_ header block::_
    | decorated::_ decorable block::_
    | if::_ | loop::_ | except::_ | group::_ | tried::_
    | if_next::_ else_header block::_
    | loop_next::_ else_header block::_
    | unfinished::_ finally_header block::_
    | next::_ match_header cases_block::_
next::_ : "" | all_next::_
if::_ : next::_ if_header block::_ | if_next::_ elif_header block::_
loop::_ : next::_ loop_header block::_
try::_ : next::_ try_header block::_
except::_ : try_next::_ except_header block::_ | except_next::_ except_header block::_
group::_ : try_next::_ group_header block::_ | group_next::_ group_header block::_
tried::_ : except_next::_ else_header block::_ | group_next::_ else_header block::_
unfinished::_ : try_next::_ | except_next::_ | group_next::_ | tried_next::_
decorators::_ : next::_ decorator | decorated::_ decorator
cases::_ : case_header block::_ | cases_next::_ case_header block::_
"""
# Lists that a new line at their column may continue, and the names of the continued lists.
CONTINUED = {name: f"{name}_next" for name in ("all", "if", "loop", "try", "except", "group", "tried", "cases")} | {
    "decorators": "decorated"
}

LINE = """
start : line | line END
line : simples | any_header | any_header simples | match_header | decorator
any_header : header | if_header | elif_header | else_header | loop_header | try_header | except_header | group_header
    | finally_header | case_header
"""

STATEMENT_TERMINALS = r"""
ALONE: /pass|break|continue|return|raise/
RETURN: /return/
RAISE: /raise/
ASSERT: /assert/
DEL: /del/
SCOPE: /global|nonlocal/
IMPORT: /import/
FROM: /from/
IF: /if/
ELIF: /elif/
ELSE: /else/
FOR: /for/
WHILE: /while/
TRY: /try/
EXCEPT: /except/
FINALLY: /finally/
WITH: /with/
DEF: /def/
CLASS: /class/
ASYNC: /async/
MATCH: /match/
CASE: /case/
AT: /@/
IMPORT_OK: SO+ /import/
IMPORT_O: SO* /import/
DEF_OK: SO+ /def/
WITH_OK: SO+ /with/
DOTS: SO* /\.+/
ARROW: SO* /->/
AUG: SO* /(\+|-|\*\*?|\/\/?|%|@|&|\||\^|<<|>>)=/
BCOLON: SO* /:[ \t]*/
SEMI: SO* /;[ \t]*/
// Blank lines and comments: before the first statement, behind the last, and before a statement at some column.
LEAD: /([ \t]*(#[^\n\r\x00]*)?\n)+/
END: /([ \t]*(#[^\n\r\x00]*)?\n)*([ \t]+|[ \t]*(#[^\n\r\x00]*)?\n|[ \t]*#[^\n\r\x00]*)/
"""
NEWLINES = r"LINES: /[ \t]*(#[^\n\r\x00]*)?(\n[ \t]*(#[^\n\r\x00]*)?)*\n/"


def _terminals(form: str) -> str:
    """Terminals of expressions, with the white space before them."""
    name = form.upper()
    space = f"S{name}"
    lines = [f"{space}: /{SPACE[form]}/"]
    beginning = BEGINNING | (BEGINNING_IN_FIELDS if form == "f" else BEGINNING_NOT_IN_FIELDS)
    for terminal, (word, other) in beginning.items():
        both = " | ".join(filter(None, (word, other)))
        after_word = " | ".join([f"{space}+ {word}"] * bool(word) + [f"{space}* {other}"] * bool(other))
        lines.append(f"{terminal}_{name}: {space}* ({both})")
        lines.append(f"{terminal}_{name}K: {after_word}")
        lines.append(f"{terminal}_{name}N: {both if form == 'o' else f'{space}* ({both})'}")
    lines += [f"{terminal}_{name}: {space}* ({text.replace('SPACE', space)})" for terminal, text in INSIDE.items()]
    lines += [f"{word}_{name}K: {space}+ /{word.lower()}/" for word in WORDS]
    if form != "f":
        lines += [
            f"PNAME_{name}: {space}* (NAME & ~/_/)",
            f"PNAME_{name}K: {space}+ (NAME & ~/_/)",
            f'PDOTTED_{name}: {space}* (NAME & ~/_/) ("." NAME)+',
            rf"BAR_{name}: {space}* /\|/",
        ]
    return "\n".join(lines)


def _field_terminals() -> str:
    """Terminals from the end of a field on."""
    spec = r"[^{}'\"\\\n\r\x00]*"
    end = r"SF* /(![rsa])?"
    lines = []
    for kind, quote in QUOTES.items():
        lines.append(rf"FNEXT{kind}: {end}\}}{_f_text(quote)}{_f_open(quote)}/")
        lines.append(rf"FCLOSE{kind}: {end}\}}{_f_text(quote)}{quote}\f*/")
    lines += [
        r"SAME: SF* /=[ \t]*/",
        f"SPEC: {end}:{spec}/",
        rf"SPECOPEN: {end}:{spec}\{{/",
        rf"SPECNEXT: {end}\}}{spec}\{{/",
        rf"SPECCLOSE: {end}\}}{spec}/",
    ]
    return "\n".join(lines)


# Which strings a field may hold, by the quotes around it: STR0, '...'; STR1, "..."; STR2, both, but not empty.
FIELD_PARAMETER = {"D": 0, "S": 1, "TD": 2, "TS": 2}
FIELDS = """
fields_{name} : field_{name} | fields_{name} FNEXT{kind} field_{name}
field_{name} : value_{name} | value_{name} SPEC | value_{name} spec_{name} SPECCLOSE
value_{name} : values_f::{parameter} | values_f::{parameter} SAME
spec_{name} : SPECOPEN sum_fn::{nested} | spec_{name} SPECNEXT sum_fn::{nested}
"""
FIELD_VALUES = """
// The value of a field.
values_f::_ : expr_f::_ | expr_f::_ COMMA_F | expr_f::_ COMMA_F exprs_f::_ comma_f
exprs_f::_ : expr_f::_ | exprs_f::_ COMMA_F expr_f::_
"""


def _field_rules() -> str:
    rules = [
        FIELDS.strip().format(kind=kind, name=kind.lower(), parameter=parameter, nested=parameter)
        for kind, parameter in FIELD_PARAMETER.items()
    ]
    return "\n".join([*rules, FIELD_VALUES.strip()])


STRINGS = "STR? strings@ | BYTES? bytes@ | " + " | ".join(
    f"FOPEN{kind}? fields_{kind.lower()} FCLOSE{kind} strings@" for kind in QUOTES
)
MORE_STRINGS = """
// Strings behind a string.
strings@ : "" | texts@
texts@ : text@ | texts@ text@
text@ : STR@ | {opened}
bytes@ : "" | bytes_list@
bytes_list@ : BYTES@ | bytes_list@ BYTES@
""".format(opened=" | ".join(f"FOPEN{kind}@ fields_{kind.lower()} FCLOSE{kind}" for kind in QUOTES))
COMMA = """
comma@ : "" | COMMA@
"""
# Rules without variants; without a parameter.
INVARIANT = frozenset(re.findall(r"^(\w+)@", MORE_STRINGS + COMMA, re.MULTILINE))
CONSTANT = INVARIANT | frozenset(re.findall(r"^(\w+)@", PATTERNS, re.MULTILINE))


def _expression_rules(form: str) -> str:
    strings = " | ".join(f"STR{number}?" for number in range(3)) if form == "f" else STRINGS
    template = EXPRESSIONS.replace("STRINGS", strings).replace("PARAMETERS", PARAMETERS.strip() + LAMBDA_PARAMETER)
    variants = [form, f"{form}k", *([f"{form}n"] if form != "i" else [])]
    return "\n".join(
        [
            *(_expand(template, variant) for variant in variants),
            _expand(COMMA + ("" if form == "f" else MORE_STRINGS), form),
        ]
    )


def _parameter_rules() -> str:
    """Parameters of a def; only its param and starparam differ."""
    own = set(re.findall(r"^(\w+)@", PARAMETERS, re.MULTILINE)) | {"param", "starparam"}
    rules = _expand(PARAMETERS, "i")
    return re.sub(rf"\b({'|'.join(own)})_i\b", r"\1_def", rules) + "\n" + DEF_PARAMETER.strip()


def _newline_rules() -> str:
    """A list of statements and the newline up to its column, for every column; a block at every deeper column."""
    rules = []
    for name, continued in CONTINUED.items():
        found = [f"{name}::_ NL{count} %if eq(_, {count})" for count in SPACES]
        found += [f"{name}::_ NT{count} %if eq(_, {64 + count})" for count in TABS]
        rules.append(f"{continued}::_ : " + "\n    | ".join(found))
    for name, statements in (("block", "all"), ("cases_block", "cases")):
        found = [f"NL{count} ({statements}::{count}) %if lt(_, {count})" for count in SPACES if count]
        found += [
            f"NT{count} ({statements}::{64 + count}) %if or(eq(_, 0), and(ge(_, 64), lt(_, {64 + count})))"
            for count in TABS
        ]
        rules.append(f"{name}::_ : " + "\n    | ".join([*(["simples"] if name == "block" else []), *found]))
    return "\n".join(rules)


def _newline_terminals() -> str:
    lines = [NEWLINES]
    lines += [f"NL{count}: LINES" + (f" /[ ]{{{count}}}/" if count else "") for count in SPACES]
    lines += [rf"NT{count}: LINES /\t{{{count}}}/" for count in TABS]
    return "\n".join(lines)


def _parameter(form: str, bracket: bool = False) -> str:
    if form == "o":
        return "::1" if bracket else ""
    depth = "_" if form == "i" else DEPTH_IN_FIELDS
    return f"::incr({depth})" if bracket else "::_"


def _alternative(text: str, variant: str) -> str:
    """An alternative of a template in one variant of a form."""
    form, inner = variant[0], "f" if variant[0] == "f" else "i"
    depth = "_" if form == "i" else DEPTH_IN_FIELDS
    conditions = []
    if form == "f" and re.match(r"LAMBDA\?|NAME\? WALRUS", text):
        conditions.append(f"gt({depth}, 0)")  # a colon would end the field
    if form == "f" and (found := re.match(r"STR(\d)", text)):
        conditions.append(f"eq([0:2], {found[1]})")
    if form != "o" and re.search(r"[a-z]#", text):
        conditions.append(f"lt({depth}, {MAX_BRACKETS})")

    def rule(found: re.Match[str]) -> str:
        name, mark = found[1], found[2]
        if mark == "#":
            return f"{name}_{inner}{_parameter(form, bracket=True)}"
        suffix = form if name in INVARIANT else {"@": variant, ":rest": form, ":word": f"{form}k"}[mark]
        return f"{name}_{suffix}{'' if name in CONSTANT else _parameter(form)}"

    text = re.sub(r"\b([a-z]\w*)(@|#|:rest|:word)", rule, text)
    for mark, suffix in (("#", inner), ("@", form), (r"\?", variant)):
        text = re.sub(rf"\b([A-Z]\w*){mark}", rf"\1_{suffix.upper()}", text)
    if not conditions:
        return text
    return f"{text} %if " + (conditions[0] if len(conditions) == 1 else f"and({conditions[0]}, {conditions[1]})")


def _expand(template: str, variant: str) -> str:
    """The rules of a template in one variant of a form."""
    written = []
    for line in re.sub(r"\n {4}\|", " |", template.strip()).splitlines():
        head, colon, body = line.partition("@ : ")
        if not colon or line.startswith("//"):
            written.append(line)
            continue
        parts = [part.strip() for part in body.split(" | ")]
        if variant == "fn":  # behind the brace that opens a nested field
            parts = [part for part in parts if not part.startswith("LBRACE?")]
        parameter = "" if head in CONSTANT else _parameter(variant[0])
        written.append(_rule(f"{head}_{variant}{parameter}", [_alternative(part, variant) for part in parts]))
    return "\n".join(written)


def _rule(head: str, alternatives: list[str]) -> str:
    text = f"{head} : {' | '.join(alternatives)}"
    return text if len(text) <= 120 else f"{head} : " + "\n    | ".join(alternatives)


def _without_idle_parameters(text: str) -> str:
    """A rule whose alternatives do not depend on its parameter must not have one."""
    while True:
        idle = [
            found[1]
            for found in re.finditer(r"^(\w+)::_ : (.*(?:\n +\|.*)*)", text, re.MULTILINE)
            if not re.search(r"::(_|[a-z])|%if", found[2])
        ]
        if not idle:
            return text
        text = re.sub(rf"\b({'|'.join(idle)})::(\w+\([^)]*\)|\w+)", r"\1", text)


HEADER = """
// {title}
// Written by python_grammar.py; do not edit.
//
// What this accepts, ast.parse accepts. Rules and terminals end with their form: _o outside of brackets, _i in
// brackets, _f in a field of an f-string, _def in the parameters of a def. A k behind it: a keyword is before; an n: a
// statement begins here. Terminals include the white space before them. The parameter of what is in brackets is how
// many are open; in fields its bits 0 and 1 tell which strings a field may hold. The parameter of statements is their
// column, 64 + n for n tabs.
%llguidance {{}}
"""


def grammar(line: bool = False) -> str:
    """The text of ``python.lark``, or of ``python-line.lark``."""
    if line:
        title = "A line of Python 3.11 and later: simple statements, or the header of a compound one."
        statements = [LINE.strip(), HEADERS.strip()]
    else:
        title = "Python 3.11 and later: statements, with or without a newline behind the last one."
        statements = [MODULE.strip(), _newline_rules(), HEADERS.strip()]
    parts = [
        HEADER.strip().format(title=title),
        *statements,
        SIMPLE.strip(),
        _expand(DELETE, "o"),
        _expand(DELETE, "ok"),
        _expand(DELETE, "i"),
        'pdels_i::_ : "" | dels_i::_',
        *(_expression_rules(form) for form in "oif"),
        *(_expand(BRACKETS, form) for form in "if"),
        _parameter_rules(),
        _field_rules(),
        _expand(PATTERNS, "o"),
        _expand(PATTERNS, "ok"),
        _expand(PATTERNS, "i"),
        PATTERN_BRACKETS.strip(),
        f"NAME: /[{LETTERS}][{LETTERS}0-9]*/ & ~/{'|'.join(keyword.kwlist)}/",
        *(_terminals(form) for form in "oif"),
        _field_terminals(),
        STATEMENT_TERMINALS.strip(),
        *([] if line else [_newline_terminals()]),
    ]
    return _reachable(_without_idle_parameters("\n\n".join(parts) + "\n"))


def _reachable(text: str) -> str:
    """Without the rules and terminals that nothing needs."""
    rule = re.compile(r"^(\w+)(?:::_)? ?: (.*(?:\n +\|.*)*)\n", re.MULTILINE)
    needs = {}
    for found in rule.finditer(text):
        needs[found[1]] = re.findall(r"\b[a-zA-Z]\w*", re.sub(r"/(?:\\.|[^/\n])+/", "", found[2]))
    reached, waiting = set(), ["start"]
    while waiting:
        name = waiting.pop()
        if name in needs and name not in reached:
            reached.add(name)
            waiting += needs[name]
    text = rule.sub(lambda found: found[0] if found[1] in reached else "", text)
    return re.sub(r"\n{3,}", "\n\n", text)


def main() -> None:
    """Writes both files beside this one."""
    for name, text in (("python", grammar()), ("python-line", grammar(line=True))):
        Path(__file__).with_name(f"{name}.lark").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
