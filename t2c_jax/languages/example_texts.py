"""What the examples of documentation have in common, in every language: their kind, and their text."""

from __future__ import annotations

import re

KIND = "example"
# A paragraph that says nothing of the example: "Examples:", "For example::", or a parameter, "size (`int`):".
NO_PROSE = re.compile(r"(?:\W*\w+){0,2}\W*\Z|\w+[ ]?\(.*\):(?:\n|\Z)|[:@]\w+.*:")


def example_text(summary: str, prose: str) -> str:
    """The text of an example: what is documented and, on the next line, the paragraph before it; empty without both.

    Args:
      summary: of the documentation.
      prose: right before the example.
    """
    summary = "" if NO_PROSE.match(summary) else summary
    said = "" if NO_PROSE.match(prose) or summary.endswith(prose) else prose
    if f"{said}\n".startswith((f"{summary}\n", f"{summary} ")):
        return said
    return "\n".join(filter(None, (summary, said)))
