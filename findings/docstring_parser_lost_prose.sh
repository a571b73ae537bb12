#!/usr/bin/env bash
# docstring-parser loses prose of Google docstrings: a lone section's, and all that is below a section.
#
# Versions:  docstring-parser 0.18.0.
# Behaviour: A docstring that is one "Returns:" section gives an empty description of what is returned. With a summary
#            above it, or another section below, the description is there. A paragraph below a section, at the margin, is
#            in no part of the result. Nothing is raised either way.
# Output:    lone section: ''
#            after a summary: 'The sum.'
#            below a section: kept nowhere
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check docstring-parser==0.18.0
"$work/venv/bin/python" - <<'PYTHON'
from docstring_parser import google

lone = google.parse("Returns:\n    The sum.").returns.description
print(f"lone section: {lone!r}")
assert lone == "", "changed: the description of a lone section is kept"
after = google.parse("Adds.\n\nReturns:\n    The sum.").returns.description
print(f"after a summary: {after!r}")
assert after == "The sum."

below = google.parse("Adds.\n\nReturns:\n    The sum.\n\nNever fails on integers.")
parts = [below.short_description, below.long_description, *(part.description for part in below.meta)]
found = any("Never fails" in (part or "") for part in parts)
print(f"below a section: kept {'somewhere' if found else 'nowhere'}")
assert not found, "changed: prose below a section is kept"
PYTHON
