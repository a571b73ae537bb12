"""One name for each programming language: Pygments' name where it has one, in lower case."""

from __future__ import annotations

import re

_ALIASES = {
    "asm": "assembly",
    "bash": "shell",
    "bat": "batch",
    "c#": "csharp",
    "c++": "cpp",
    "cc": "cpp",
    "cjs": "javascript",
    "clj": "clojure",
    "cmd": "batch",
    "coffee": "coffeescript",
    "cs": "csharp",
    "cxx": "cpp",
    "docker": "dockerfile",
    "erl": "erlang",
    "ex": "elixir",
    "exs": "elixir",
    "f#": "fsharp",
    "f90": "fortran",
    "fs": "fsharp",
    "golang": "go",
    "h++": "cpp",
    "hpp": "cpp",
    "hs": "haskell",
    "hxx": "cpp",
    "ipython": "python",
    "ipython2": "python",
    "ipython3": "python",
    "jl": "julia",
    "js": "javascript",
    "jsx": "javascript",
    "ksh": "shell",
    "kt": "kotlin",
    "kts": "kotlin",
    "makefile": "make",
    "md": "markdown",
    "mjs": "javascript",
    "ml": "ocaml",
    "mts": "typescript",
    "node": "javascript",
    "obj-c": "objective-c",
    "objc": "objective-c",
    "objectivec": "objective-c",
    "pas": "pascal",
    "patch": "diff",
    "perl5": "perl",
    "pgsql": "sql",
    "pl": "perl",
    "plsql": "sql",
    "posh": "powershell",
    "postgres": "sql",
    "postgresql": "sql",
    "ps1": "powershell",
    "pwsh": "powershell",
    "py": "python",
    "py2": "python",
    "py3": "python",
    "pyi": "python",
    "python2": "python",
    "python3": "python",
    "rb": "ruby",
    "rlang": "r",
    "rs": "rust",
    "scm": "scheme",
    "sh": "shell",
    "shell-script": "shell",
    "shellscript": "shell",
    "sol": "solidity",
    "ts": "typescript",
    "tsx": "typescript",
    "vb": "vbnet",
    "vb.net": "vbnet",
    "viml": "vim",
    "yml": "yaml",
    "zsh": "shell",
}
_PYTHON = re.compile(r"python[ -]?[23](?:\.\d+)*")


def canonical(language: str) -> str:
    """The one name of a language, by any of its common names; of an unknown name itself, stripped and in lower case."""
    name = " ".join(language.lower().split())
    if _PYTHON.fullmatch(name):
        return "python"
    return _ALIASES.get(name, name)


def is_canonical(name: str) -> bool:
    """Whether other names lead to this one."""
    return name in _CANONICAL


_CANONICAL = frozenset(_ALIASES.values())
