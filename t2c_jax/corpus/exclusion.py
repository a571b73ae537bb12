"""Which paths config.corpus.exclude leaves out: gitignore's rules, the same in a directory and in a git checkout."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pathspec import GitIgnoreSpec

from t2c_jax.errors import UserError


class Exclusion:
    """Tests paths against patterns, and remembers which patterns matched anything.

    As in git, a path in an excluded directory is excluded, whatever later patterns say of the path itself.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compiles the patterns.

        Raises:
          UserError: a pattern is none of gitignore's.
        """
        specs = []
        for pattern in patterns:
            try:
                specs.append(GitIgnoreSpec.from_lines([pattern]))
            except (ValueError, re.error) as error:  # pathspec compiles "[z-a]" and lets re's error through
                raise UserError(f"config.corpus.exclude: '{pattern}' is no pattern of gitignore: {error}") from None
        self._all = GitIgnoreSpec.from_lines(patterns)
        self._unmatched = dict(zip(patterns, specs, strict=True))
        self._directories: dict[str, bool] = {"": False}

    def excludes(self, path: str) -> bool:
        """Whether the path is excluded.

        Args:
          path: relative to the source's root, with forward slashes; of a directory it ends with one.
        """
        if path in self._directories:
            return self._directories[path]
        parent = path.rstrip("/").rpartition("/")[0]
        if self.excludes(parent + "/" if parent else ""):
            found = True
        else:
            for pattern in [name for name, spec in self._unmatched.items() if _matches(spec, path)]:
                del self._unmatched[pattern]
            found = self._all.match_file(path)
        if path.endswith("/"):
            self._directories[path] = found
        return found

    def unmatched(self) -> list[str]:
        """The patterns that have matched no path so far."""
        return list(self._unmatched)


def _matches(spec: GitIgnoreSpec, path: str) -> bool:
    return spec.check_file(path).include is not None
