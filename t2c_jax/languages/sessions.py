"""Interactive sessions: commands behind prompts, with the output between them.

A prompt on any line makes a session. A prompt begins a line, and a space or the line's end follows it. Python code that
parses is not a session: a docstring with doctests is part of a program.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from t2c_jax.languages.parsing import parses

_IPYTHON = r"In ?\[\d+\]:"
# Prompts that no program in any of the languages begins a line with.
_EVERYWHERE = (
    _IPYTHON,
    r"(?:\([\w.-]+\) ?)?[\w.-]+@[\w.-]+(?::| )[^\s$#%>]*[$#%>]",  # user@host:~/work$
    r"\((?:base|[\w.-]*env[\w.-]*)\) ?[^\s$#%>]*[$#%>]",  # (venv) $, (base) user$
    r"\[[\w.-]+@[\w.-]+ [^\]]+\][$#]",  # [user@host work]$
    r"\$",
    r"[\u276f»]|➜ +\S+(?: git:\(\S+\))?(?: ✗)?",
    r"(?:\([\w.-]+\) )?PS(?: ?[A-Za-z]:[^>\n]*| ?[~/][^>\n]*)?>+",
    r"[A-Za-z]:\\[^>\n]*>",
    r"\((?:[Pp]db|gdb|lldb|i?pdb\+*|jdb|dlv)\)",
    r"ipdb>|debug>",
    r"(?:mysql|mariadb|sqlite|sqlplus|SQL|psql|cqlsh|hive|spark-sql|redis|mongosh?|presto|trino|beeline|clickhouse|duckdb)"
    r"(?:[:.][\w.:@-]*)?>",
    r"MariaDB \[[^\]\n]*\]>",
    r"\d+(?:\.\d+){3}:\d+>",
    r"julia>|help\?>|(?:\([^)\n]+\) )?pkg>|shell>",
    r"irb(?:\([^)\n]*\))?[:\d]*[>*]",
    r"(?:\[\d+\] )?pry(?:\([^)\n]*\))?>",
    r"(?:iex|iex\([^)\n]*\)|\.\.\.\(\d+\))>",
    r"scala>|jshell>|ghci>|Prelude(?: [\w. ]+)?>|λ>|utop(?:\[\d+\])? #>?|user=>|groovy:\d+>",
    r"(?:lua|node|php|erl|deno|bun|swift|octave(?::\d+)?|sage|gap|maxima|clj|racket|sbt(?::[\w-]+)?)>",
    r"sage:|octave:\d+>|\(%i\d+\)",
)
# Prompts where the language has no such code.
_OF_LANGUAGE: Mapping[str, tuple[str, ...]] = {
    "python": (r">>>",),
    "kotlin": (r">>>",),
    "ruby": (r">>", r">>>"),
    "shell": (r"%", r"[\w./~:-]+ ?[$%]", r"[\w./~:-]+#", r"\([\w./-]+\) ?[^\s$#%>]*[$%]"),
    "batch": (r"[A-Za-z]:>",),
    "r": (r">",),
    "s": (r">",),
    "php": (r"php >",),
    "matlab": (r">>",),
    "octave": (r">>",),
    "erlang": (r"\d+>",),
    "swift": (r" *\d+>",),
    "haskell": (r"\*?[A-Z]\w*(?:[. ]\w+)*>",),
    "ocaml": (r"#(?=.*;;)",),
    "prolog": (r"\?-",),
    "scheme": (r"\d+ \]=>",),
    "clojure": (r"[\w.-]+=>",),
    "sql": (r"\w+>", r"[A-Za-z_]\w*[=\-(*'\"][#>]", r"D(?= [A-Za-z]+ .*;)"),
}
# A lone ">" may also begin a line of code in these (JSX, redirections): a prompt only if it begins the first line.
_LONE_ANGLE = {"batch", "javascript", "lua", "php", "powershell", "racket", "scheme", "typescript"}
_COMMENT = re.compile(r"\s*(?:$|#|//|--|;|::|REM )")
# Lines that go on with the command above, with the prompt that they begin with.
_CONTINUES: Mapping[str, str] = {
    "python": r" *\.\.\.:?",
    "shell": r">",
    "powershell": r">>",
    "sql": r" *(?:->|\.\.\.>|['\"`]>|\w+[-('\"*][#>])",
    "javascript": r"\.\.\.+",
    "typescript": r"\.\.\.+",
    "r": r"\+",
    "s": r"\+",
    "ruby": r"irb(?:\([^)\n]*\))?[:\d]*[*\"']",
    "scala": r" +\|",
    "java": r" +\.\.\.>",
    "elixir": r"\.\.\.(?:\(\d+\))?>",
    "php": r"php [{(\"']",
    "lua": r">>",
    "haskell": r"(?:[\w*.]+\| ?|ghci\|)",
    "clojure": r"#_=>",
}
# Names of sessions, and the language of their commands.
SESSION_LANGUAGES: Mapping[str, str] = {
    "bash-session": "shell",
    "console": "shell",
    "doscon": "batch",
    "iex": "elixir",
    "irb": "ruby",
    "jlcon": "julia",
    "psql": "sql",
    "ps1con": "powershell",
    "pwsh-session": "powershell",
    "pycon": "python",
    "python-console": "python",
    "python-repl": "python",
    "rbcon": "ruby",
    "rconsole": "r",
    "rout": "r",
    "session": "shell",
    "sh-session": "shell",
    "shell-session": "shell",
    "shellsession": "shell",
    "sqlite3": "sql",
    "terminal": "shell",
}


def commands(code: str, language: str) -> str | None:
    """The commands of a session without prompts and output; None if the code is no session.

    Args:
      code: of any form.
      language: of the commands, as ``aliases.canonical`` names it.
    """
    lines = code.split("\n")
    first = next((line for line in lines if not _COMMENT.match(line)), "")
    prompt = _prompt(language, lone_angle=language in _LONE_ANGLE and first.startswith("> "))
    if not any(prompt.match(line) for line in lines):
        return None
    # To Python, prompts are syntax errors, except "In [1]: x", an annotation. To a shell, "$ make" is a command.
    if language == "python" and not re.search(rf"^{_IPYTHON}", code, re.MULTILINE) and parses(code, language):
        return None
    goes_on = re.compile(rf"(?:{_CONTINUES[language]})(?: |$)") if language in _CONTINUES else None
    kept: list[str] = []
    width = 0  # of the prompt that the lines below may continue; 0 below output
    for line in lines:
        if found := prompt.match(line):
            kept.append(line[found.end() :])
            width = found.end()
        elif width and goes_on and (found := goes_on.match(line)):
            kept.append(line[found.end() :])
        elif width and kept[-1].endswith("\\") and language in ("shell", "batch"):
            kept.append(line)
        elif width and language == "julia" and line.strip() and not line[:width].strip():
            kept.append(line[width:])  # Julia indents what continues a command as far as its prompt
        else:
            width = 0
    return "\n".join(line.rstrip() for line in kept).strip("\n")


@functools.cache
def _prompt(language: str, lone_angle: bool) -> re.Pattern[str]:
    forms = [*_EVERYWHERE, *_OF_LANGUAGE.get(language, ())]
    if lone_angle:
        forms.append(">")
    if re.fullmatch(r"[\w-]{3,}", language):
        forms.append(rf"{re.escape(language)}(?:\([^)\n]*\))?[:\d]*>")
    indented = r"[ \t]*" if language in ("python", "kotlin") else ""  # elsewhere a space may come before an operator
    return re.compile(rf"{indented}(?:{'|'.join(forms)})(?: |$)")
