import subprocess
import sys

import pytest

from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.extractor import extractor_for, extractors
from t2c_jax.languages.identifiers import identifiers
from t2c_jax.languages.lexers import find_lexer, highlighting_lexer
from t2c_jax.languages.parsing import parses
from t2c_jax.languages.written_names import language_as_written


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("py", "python"),
        ("PY", "python"),
        (" Python3 ", "python"),
        ("Python 3.11", "python"),
        ("ipython3", "python"),
        ("C++", "cpp"),
        ("Bash", "shell"),
        ("js", "javascript"),
        ("c#", "csharp"),
        ("klingon", "klingon"),
        ("", ""),
    ],
)
def test_a_language_has_one_name(name, language):
    assert canonical(name) == language
    assert canonical(language) == language


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("Py3", "python"),
        ("kotiln", "kotlin"),
        ("kotln", "kotlin"),
        ("pyhton", "python"),
        ("Javascipt", "javascript"),
        ("typescript", "typescript"),
        ("proto", "protobuf"),
        ("scala", "scala"),
        ("jinja", "django"),
        ("kotli-script", "other"),
        ("go1", "other"),
        ("ogdl", "other"),
    ],
)
def test_a_language_as_documents_name_it(name, language):
    """Names with one mistake are understood, short ones only without; others are none."""
    assert language_as_written(name) == language


@pytest.mark.parametrize(
    ("code", "language", "answer"),
    [
        ("x = 1", "py", True),
        ("x = ", "Python3", False),
        ("# only a comment", "python", False),
        ("x = 1", "klingon", None),
        ("x = 1", "", None),
    ],
)
def test_parsing_by_language(code, language, answer):
    assert parses(code, language) is answer


def test_identifiers_by_any_name_of_the_language():
    assert identifiers("if x: y", "py") == identifiers("if x: y", "python")
    assert identifiers("let a = 1;", "js").spans == [(4, 5)]


def test_lexers_by_language():
    assert find_lexer("klingon") is None
    assert find_lexer("text") is None
    assert find_lexer("py").name == "Python"
    assert highlighting_lexer("klingon").name == "Text only"
    assert next(iter(highlighting_lexer("py").get_tokens("\n\nx")))[1] == "\n"


def test_extractors_by_suffix_and_choice():
    assert extractor_for("a/b.PY", ["markdown", "python"]) is extractors.get("python", "")
    assert extractor_for("a/b.py", ["markdown"]) is None
    assert extractor_for("a/py", ["python"]) is None


def test_importing_the_package_loads_no_parser():
    script = (
        "import sys, t2c_jax.languages; print({'jax', 'tensorflow', 'markdown_it', 'tree_sitter'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
