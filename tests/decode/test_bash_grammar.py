# ruff: noqa: E501, SIM905  (tables of texts)
"""The Bash grammar: real commands are accepted, and ``bash -n`` reads whatever is accepted."""

import functools
import os
import re
import shutil
import subprocess

import pytest
from grammar_examples import (
    Pieces,
    accepts,
    commands,
    counterexamples,
    made_commands,
    mutants,
    random_walks,
    tokenizer_over,
)

from t2c_jax.decode.grammar.compiled import Grammar

BASH = shutil.which("bash")

PIECES = [
    *(" ;  ; & | |& && || ( ) { } ! [[ ]] (( )) $( ${ $(( ` \" ' $' $\" <( >( < > >> <<< &> >& <> >| 2> 2>&1 \\ # $ $$ $#".split()),
    *(" |; |& |&& ||| |(|{ |; }| ]]|[[ |! | && | || | | |if |; then |then |elif |else |; fi|fi|for |for x in |for ((".split("|")),
    *("; do |do |; done|done|while |until |case |case x in | in |esac|;; |;& |a) |(a|b) |function |f() |select |time |time -p |".split("|")),
    *("declare -A |export |local |a=|a=(|a+=(|a[1]=|[k]=| == | =~ | -eq |-f |^(a|b)$|\n|\\\n| # c\n|\t|  |a=b |x y|coproc ".split("|")),
    *"a b x foo 1 12 $a $1 $@ ${a} ${a[ ${#a} ${!a} ${a:- ${a/ } ] * ? % ~ = - -- -p {a,b} {1..3} @ ^ , : / // ;; \\\" \\' \\` é".split(),
]  # fmt: skip
CLOSERS = ["'", '"', "`", ")", "}", "]", "))", " ]]", "fi", "done", "esac", "; ", "; then ", "then ", "; do ", "do ", " in ",
           "a", "1", "\n", " ", "a)", ";; ", " == "]  # fmt: skip


@functools.cache
def grammar():
    return Grammar.compile("bash", tokenizer_over("bash"))


def bash_reads(command):
    """Whether ``bash -n``, which runs nothing, parses a command and says nothing."""
    done = subprocess.run(
        [BASH, "--norc", "-n"], input=command.encode(), capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    return done.returncode == 0 and not done.stderr


def bash_version():
    if BASH is None:
        return (0, 0)
    said = subprocess.run([BASH, "-c", "echo $BASH_VERSION"], capture_output=True, text=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


needs_bash = pytest.mark.skipif(bash_version() < (5, 2), reason="checks against Bash 5.2's parser")


def test_every_construct_is_accepted_token_by_token():
    tokenizer = tokenizer_over("bash")
    assert [c for c in commands() if not accepts(grammar(), tokenizer, c)] == []


def test_made_commands_are_accepted_token_by_token():
    tokenizer = tokenizer_over("bash")
    assert [c for c in made_commands(300, seed=1) if not accepts(grammar(), tokenizer, c)] == []


@needs_bash
def test_the_examples_are_valid():
    assert counterexamples([*commands(), *made_commands(60, seed=1)], bash_reads) == []


REJECTED = [
    "", "   ", "echo 'a", 'echo "a', "echo `a", "echo $(a", "echo ${a", "echo $((1)", "echo \\", "( a", "{ a; ", "{ a }", "a )", "a }; }",
    "a | ", "a && ", "a || ;", "; a", "a ;; b", "a ; ; b", "a & ; b", "& a", "| a", "a | | b", "a > ", "a >", "a < > b", "a >&",
    "if a; then b", "if a; then; fi", "if a then b; fi", "if; then a; fi", "then a", "fi", "do a", "done", "esac", "else", "in", "}", "]]",
    "for x in a; b; done", "for x in a do b; done", "for $x in a; do b; done", "for 1x in a; do b; done", "for x in a; do done",
    "for ((i = 0; i < 3)); do a; done", "while a; done", "while do a; done", "until a; do b; fi", "case a in b) c", "case a b) c;; esac",
    "case a in b c;; esac", "case a in b) c;; d) e f", "select x a; do b; done", "f( { a; }", "f() a", "f() { a; ", "function { a; }",
    "echo a (b)", "echo (a)", "echo a(b)", "a=(1 2", "echo a=(1)", "a= (1)", "a=b (c)", "a[1", "a[ 1=2", "x=1 a[", "declare (a)",
    "[[ a", "[[ ]]", "[[ -f ]]", "[[ a == ]]", "[[ a b ]]", "[[ a == b c ]]", "[[ ( a ]]", "[[ a && ]]", "[[ a ]] b", "[[ ! ]]",
    "(( 1", "echo $(( 1 + )", "! ", "!", "time do", "time -p fi", "echo a | do", "if a; then b; fi c", "{ a; } b", "(a) b", "while a; do b; done c",
    "<>2>x", "a <> 2>x; b >1>x", "a;&>b", "a |&\ntime", "a |\n", "2>x a[", "coproc a", "cat <<EOF\nx\nEOF", "echo @(a|b)", "echo $[a", "${", "$(", "${a",
    "${a b}", "echo ${a:-'}", "echo \"${a:-\"}", "echo \"$(echo \")\"", "echo <(a", "echo `a`b`", "a\0b", "a\x07b",
]  # fmt: skip


@pytest.mark.parametrize("text", REJECTED)
def test_what_is_no_command_is_rejected(text):
    assert not accepts(grammar(), tokenizer_over("bash"), text)


@needs_bash
def test_accepted_mutations_pass_bash():
    tokenizer = tokenizer_over("bash")
    found = mutants([*commands(), *made_commands(100)], PIECES, 1500, seed=0)
    accepted = [text for text in found if accepts(grammar(), tokenizer, text)]
    assert len(accepted) > 300
    assert counterexamples(accepted[:300], bash_reads) == []


@needs_bash
def test_random_walks_over_pieces_pass_bash():
    pieces = Pieces(PIECES)
    walks = random_walks(Grammar.compile("bash", pieces), pieces.surfaces, pieces.eos, CLOSERS, 200)
    assert counterexamples(walks, bash_reads) == []


@needs_bash
def test_random_walks_over_the_tokens_of_a_model_pass_bash():
    tokenizer = tokenizer_over("bash")
    walks = random_walks(grammar(), tokenizer.surfaces, tokenizer.eos, CLOSERS, 100)
    assert counterexamples(walks, bash_reads) == []
