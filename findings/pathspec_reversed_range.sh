#!/usr/bin/env bash
# GitIgnoreSpec of pathspec raises re.error for a pattern that git accepts.
#
# Versions:  pathspec 1.1.1.
# Behaviour: a range in the wrong order, such as [z-a] in a repository's .gitignore, is passed on to Python's re, whose
#            error is raised as it is. It is no GitIgnorePatternError, which other bad patterns raise, and no ValueError.
#            git reads the file, and the pattern matches the first character of the range.
# Output:    'x[b-a]': re.error, bad character range b-a at position 11
#            'x\\': GitIgnorePatternError, Invalid git pattern: 'x\\'
#            git: .gitignore:1:x[b-a]	xb
# Advice:    also catch re.error; PatternError of Python 3.13 is the same class.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pathspec==1.1.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import re

from pathspec import GitIgnoreSpec

kinds = []
for pattern in ("x[b-a]", "x\\"):
    try:
        GitIgnoreSpec.from_lines([pattern])
    except Exception as error:
        kinds.append(type(error))
        name = "re.error" if isinstance(error, re.error) else type(error).__name__
        print(f"{pattern!r}: {name}, {error}")
assert kinds[0] is re.error, "changed: the range is read, or raises another error"
assert issubclass(kinds[1], ValueError)
PYTHON
git init --quiet repository
cd repository
echo 'x[b-a]' >.gitignore
echo "git: $(git check-ignore --verbose xb)"
